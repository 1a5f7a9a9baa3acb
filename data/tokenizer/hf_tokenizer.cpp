#include "lowrank/data/tokenizer/hf_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/prefix_space.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data {

namespace {

// A part of tokenizer.json; a missing one is as good as null.
core::JsonView part(const core::JsonView& root, const char* key) {
  static const core::Json null;
  return root.has(key) ? root.at(key) : core::JsonView(null, root.where() + "." + key);
}

const core::JsonView& checked_root(const core::JsonView& root) {
  if (!root.is_object()) root.fail("expected an object");
  return root;
}

std::unique_ptr<const TokenModel> model_of(const core::Json& json, const std::string& where) {
  const core::JsonView model = checked_root({json, where}).at("model");
  ModelTables tables(where);
  tables.read(model);
  return TokenModel::make(model, std::move(tables));
}

}  // namespace

std::shared_ptr<HfTokenizer> HfTokenizer::read(const std::filesystem::path& file, const SpecialTokens& special) {
  const std::string where = file.string();
  ModelTables tables(where);
  core::Json json = core::read_json(file, tables);
  auto model = TokenModel::make(checked_root({json, where}).at("model"), std::move(tables));
  apply_prefix_space(json, special);
  return std::make_shared<HfTokenizer>(json, where, special, std::move(model));
}

HfTokenizer::HfTokenizer(const core::Json& json, const std::string& where, const SpecialTokens& special,
                         std::unique_ptr<const TokenModel> model)
    : normalizer_(Normalizer::make(part(checked_root({json, where}), "normalizer"))),
      pre_tokenizer_(PreTokenizer::make(part({json, where}, "pre_tokenizer"))),
      decoder_(Decoder::make(part({json, where}, "decoder"))),
      model_(model ? std::move(model) : model_of(json, where)) {
  next_id_ = static_cast<TokenId>(model_->vocabulary().count());
  add_tokens_of(part({json, where}, "added_tokens"));
  add_tokens_of(special);
  build_splitters();
  template_ =
      read_post_processor(part({json, where}, "post_processor"), [this](TokenId id) { return token(id).has_value(); });
  name_special_tokens(special);
}

void HfTokenizer::add_tokens_of(const core::JsonView& json) {
  if (json.is_null()) return;
  if (!json.is_array()) json.fail("expected an array of tokens");
  for (std::size_t i = 0; i < json.size(); ++i) {
    const core::JsonView entry = json.at(i);
    AddedToken token = AddedToken::from_json(entry);
    if (token.content.empty()) entry.fail("an added token without content, which would be found everywhere");
    token.id = static_cast<TokenId>(entry.at("id").as_int(0, kMaxTokenId));
    if (added_place_.contains(token.content)) {
      entry.fail("the added token '" + core::printable(token.content, 40) + "' is there twice");
    }
    add_token(std::move(token), entry.where());
  }
}

// Tokens that only the files beside tokenizer.json know, as transformers adds them.
void HfTokenizer::add_tokens_of(const SpecialTokens& special) {
  const auto add = [&](const AddedToken& token, bool make_special, const char* where) {
    if (token.content.empty()) return;
    if (const auto it = added_place_.find(token.content); it != added_place_.end()) {
      AddedToken& known = added_[it->second];
      known.special = known.special || token.special || make_special;
      if (token.id >= 0) {  // added_tokens_decoder's word on how it is found
        known.normalized = token.normalized;
        known.single_word = token.single_word;
        known.lstrip = token.lstrip;
        known.rstrip = token.rstrip;
      }
      return;
    }
    AddedToken copy = token;
    copy.special = copy.special || make_special;
    add_token(std::move(copy), where);
  };
  for (const AddedToken& token : special.added) add(token, false, "tokenizer_config.json: added_tokens_decoder");
  for (const auto* named : {&special.bos, &special.eos, &special.unk, &special.pad}) {
    if (named->token) add(*named->token, true, "tokenizer_config.json");
  }
  for (const AddedToken& token : special.extra) add(token, true, "tokenizer_config.json");
  for (const AddedToken& token : special.listed) {  // one that is known stays what it is
    if (!added_place_.contains(token.content)) add(token, true, "tokenizer_config.json");
  }
  for (AddedToken& token : added_) token.is_text = special.split && token.special;
}

// A token of the vocabulary keeps its id, any other gets the next free one, whatever the file says: so the reference. A
// file that says something else would be read differently by different programs.
void HfTokenizer::add_token(AddedToken token, const std::string& where) {
  const TokenId id = model_->vocabulary().find(token.content).value_or(next_id_);
  if (token.id >= 0 && token.id != id) {
    throw FormatError(
        fmt::format("{}: the token '{}' has id {}, but {} has it (added tokens follow the vocabulary "
                    "without gaps, and tokens of the vocabulary keep their ids)",
                    where, core::printable(token.content, 40), token.id, id));
  }
  if (added_by_id_.contains(id) || id > kMaxTokenId) {
    throw FormatError(fmt::format("{}: the token '{}' has an id, {}, that is another token's", where,
                                  core::printable(token.content, 40), id));
  }
  token.id = id;
  if (id >= next_id_) next_id_ = id + 1;
  added_by_id_[id] = added_.size();
  added_place_[token.content] = added_.size();
  added_.push_back(std::move(token));
}

void HfTokenizer::build_splitters() {
  std::unordered_set<std::string_view> special_contents;
  for (const AddedToken& token : added_) {
    if (token.special) special_contents.insert(token.content);
  }
  // Decoding knows special tokens by their text, so that one whose normalised text is another is not left out.
  for (AddedToken& token : added_) {
    token.text = token.normalized ? normalized(token.content).text : token.content;
    token.left_out = special_contents.contains(token.text);
  }
  for (const bool special : {true, false}) {  // of two equal texts the special token's wins
    for (const AddedToken& token : added_) {
      if (token.special == special) (token.normalized ? normalized_splitter_ : raw_splitter_).add(token, token.text);
    }
  }
}

void HfTokenizer::name_special_tokens(const SpecialTokens& special) {
  const auto id_of = [&](const SpecialTokens::Named& named) -> std::optional<TokenId> {
    if (named.token) return token_to_id(named.token->content);
    if (!named.said && named.config_id && token(*named.config_id)) return named.config_id;
    return std::nullopt;
  };
  bos_ = id_of(special.bos);
  eos_ = id_of(special.eos);
  pad_ = id_of(special.pad);
  unk_ = special.unk.said ? id_of(special.unk) : model_->unk();
  if (!bos_ && !special.bos.said && !template_.before.empty()) bos_ = template_.before.front();
  adds_bos_ = bos_ && !template_.before.empty() && template_.before.front() == *bos_;
  adds_eos_ = eos_ && !template_.after.empty() && template_.after.back() == *eos_;
}

std::vector<TokenId> HfTokenizer::encode(std::string_view text, bool add_special_tokens) const {
  std::string repaired;
  if (core::find_invalid_utf8(text) != std::string_view::npos) {
    repaired = core::replace_invalid_utf8(text);
    text = repaired;
  }
  std::vector<TokenId> ids;
  if (add_special_tokens) ids = template_.before;
  for (const SplitPart& raw : raw_splitter_.split(text)) {
    if (raw.id >= 0) {
      ids.push_back(raw.id);
      continue;
    }
    NormalizedText segment = normalized(text.substr(raw.span.begin, raw.span.end - raw.span.begin));
    for (const SplitPart& piece : normalized_splitter_.split(segment.text)) {
      if (piece.id >= 0) {
        ids.push_back(piece.id);
        continue;
      }
      const bool whole = piece.span.end - piece.span.begin == segment.text.size();
      encode_segment(
          whole ? std::move(segment.text) : segment.text.substr(piece.span.begin, piece.span.end - piece.span.begin),
          raw.span.begin == 0 && piece.span.begin < segment.of_first, ids);
    }
  }
  if (add_special_tokens) ids.insert(ids.end(), template_.after.begin(), template_.after.end());
  return ids;
}

NormalizedText HfTokenizer::normalized(std::string_view text) const {
  NormalizedText out{std::string(text), normalized_limit(text.size()), 0};
  if (!text.empty()) next_character(text, out.of_first);
  if (normalizer_) normalizer_->apply(out);
  return out;
}

void HfTokenizer::encode_segment(std::string text, bool at_start, std::vector<TokenId>& ids) const {
  if (!pre_tokenizer_) return encode_piece(text, ids);
  Pieces pieces{std::move(text), {}, at_start};
  pieces.spans.push_back({0, pieces.text.size()});
  pre_tokenizer_->apply(pieces);
  for (const ByteRange& span : pieces.spans) {
    encode_piece(std::string_view(pieces.text).substr(span.begin, span.end - span.begin), ids);
  }
}

void HfTokenizer::encode_piece(std::string_view piece, std::vector<TokenId>& ids) const {
  for (std::size_t at = 0; at < piece.size();) {
    const std::size_t end = model_->part_end(piece, at);
    const std::string_view part = piece.substr(at, end - at);
    at = end;
    if (cache_.find(part, ids)) continue;
    const std::size_t first = ids.size();
    model_->encode(part, ids);
    cache_.add(part, std::span(ids).subspan(first));
  }
}

std::string HfTokenizer::decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const TokenId id : ids) {
    const auto text = token(id);
    if (text && !(skip_special_tokens && is_special(id))) tokens.emplace_back(*text);
  }
  decoder_->apply(tokens);
  std::string out;
  for (const std::string& t : tokens) out += t;
  return out;
}

std::optional<std::string_view> HfTokenizer::token(TokenId id) const {
  if (const auto it = added_by_id_.find(id); it != added_by_id_.end()) return added_[it->second].text;
  return model_->vocabulary().token(id);
}

std::optional<TokenId> HfTokenizer::token_to_id(std::string_view text) const {
  if (const auto it = added_place_.find(std::string(text)); it != added_place_.end()) return added_[it->second].id;
  return model_->vocabulary().find(text);
}

std::string HfTokenizer::id_to_token(TokenId id) const { return std::string(token(id).value_or("")); }

bool HfTokenizer::is_special(TokenId id) const {
  const auto it = added_by_id_.find(id);
  return it != added_by_id_.end() && added_[it->second].left_out;
}

bool HfTokenizer::is_byte(TokenId id) const {
  if (!decoder_->joins_byte_tokens()) return false;
  const auto text = token(id);
  return text && byte_of_token(*text) >= 0;
}

TokenId HfTokenizer::size() const { return std::max(model_->vocabulary().size(), next_id_); }

}  // namespace lowrank::data
