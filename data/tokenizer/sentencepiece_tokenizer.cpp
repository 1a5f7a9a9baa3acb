#include "lowrank/data/tokenizer/sentencepiece_tokenizer.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/sentencepiece_model.h"

namespace lowrank::data {

namespace {

std::unique_ptr<sentencepiece::SentencePieceProcessor> load_processor(const std::string& bytes,
                                                                      const std::string& where) {
  auto processor = std::make_unique<sentencepiece::SentencePieceProcessor>();
  const auto status = processor->LoadFromSerializedProto(bytes);
  if (!status.ok()) {
    throw FormatError(
        fmt::format("{}: the sentencepiece library refuses it: {}", where, core::printable(status.ToString(), 200)));
  }
  return processor;
}

std::unique_ptr<const Decoder> llama_decoder(bool strip) {
  core::Json steps = core::Json::array({
      {{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}},
      {{"type", "ByteFallback"}},
      {{"type", "Fuse"}},
  });
  if (strip) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return Decoder::make({core::Json{{"type", "Sequence"}, {"decoders", steps}}, "decoder"});
}

}  // namespace

SentencePieceTokenizer::SentencePieceTokenizer(const std::string& model_bytes, const std::string& where,
                                               const SpecialTokens& special) {
  using Kind = SentencePieceModel::Kind;
  const SentencePieceModel model = SentencePieceModel::parse(model_bytes, where);
  with_prefix_ = load_processor(model_bytes, where);
  without_prefix_ = load_processor(without_dummy_prefix(model_bytes), where);
  prefix_ = model.add_dummy_prefix && special.add_prefix_space.value_or(true);
  prefix_everywhere_ = special.legacy.value_or(false);
  decoder_ = llama_decoder(prefix_);

  for (const auto& piece : model.pieces) {
    ids_[piece.text] = static_cast<TokenId>(entries_.size());
    entries_.push_back({piece.text, false, false});
  }
  for (const auto& piece : model.pieces) {
    const bool is_special = piece.kind == Kind::kControl || piece.kind == Kind::kUnknown;
    if (!is_special && piece.kind != Kind::kUserDefined) continue;
    AddedToken token;
    token.content = piece.text;
    add_token(token, is_special, where);
  }
  for (const AddedToken& token : special.added) add_token(token, token.special, "tokenizer_config.json");
  const auto name = [&](const SpecialTokens::Named& named, int own) -> std::optional<TokenId> {
    if (named.token) {
      add_token(*named.token, true, "tokenizer_config.json");
      return ids_.at(named.token->content);
    }
    if (named.said || own < 0) return std::nullopt;
    return own;
  };
  bos_ = name(special.bos, with_prefix_->bos_id());
  eos_ = name(special.eos, with_prefix_->eos_id());
  unk_ = name(special.unk, with_prefix_->unk_id());
  pad_ = name(special.pad, with_prefix_->pad_id());
  for (const AddedToken& token : special.extra) add_token(token, true, "tokenizer_config.json");
  for (const AddedToken& token : special.listed) {  // one that is known stays what it is
    const auto known = ids_.find(token.content);
    if (known == ids_.end() || !entries_[static_cast<std::size_t>(known->second)].added) add_token(token, true, "tokenizer_config.json");
  }
  for (AddedToken& token : added_) {
    token.is_text = special.split && entries_[static_cast<std::size_t>(token.id)].special;
    splitter_.add(token, token.content);
  }
  adds_bos_ = bos_ && special.add_bos.value_or(true);
  adds_eos_ = eos_ && special.add_eos.value_or(false);
}

SentencePieceTokenizer::~SentencePieceTokenizer() = default;

void SentencePieceTokenizer::add_token(AddedToken token, bool special, const std::string& where) {
  if (token.content.empty()) return;
  const auto [it, is_new] = ids_.try_emplace(token.content, static_cast<TokenId>(entries_.size()));
  if (token.id >= 0 && token.id != it->second) {
    throw FormatError(
        fmt::format("{}: the token '{}' has id {}, but {} has it (added tokens follow the pieces without "
                    "gaps, and pieces keep their ids)",
                    where, core::printable(token.content, 40), token.id, it->second));
  }
  if (is_new) entries_.push_back({token.content, false, false});
  Entry& entry = entries_[static_cast<std::size_t>(it->second)];
  entry.special = entry.special || special;
  if (entry.added) return;
  entry.added = true;
  token.id = it->second;
  added_.push_back(std::move(token));
}

std::vector<TokenId> SentencePieceTokenizer::encode(std::string_view text, bool add_special_tokens) const {
  std::string repaired;
  if (core::find_invalid_utf8(text) != std::string_view::npos) {
    repaired = core::replace_invalid_utf8(text);
    text = repaired;
  }
  std::vector<TokenId> ids;
  if (add_special_tokens && adds_bos_) ids.push_back(*bos_);
  std::vector<int> some;
  for (const SplitPart& part : splitter_.split(text)) {
    if (part.id >= 0) {
      ids.push_back(part.id);
      continue;
    }
    const bool prefix = prefix_ && (prefix_everywhere_ || part.span.begin == 0);
    const auto& processor = prefix ? *with_prefix_ : *without_prefix_;
    const std::string_view segment = text.substr(part.span.begin, part.span.end - part.span.begin);
    const auto status = processor.Encode({segment.data(), segment.size()}, &some);
    if (!status.ok())
      throw DataError("sentencepiece could not encode a text: " + core::printable(status.ToString(), 200));
    ids.insert(ids.end(), some.begin(), some.end());
  }
  if (add_special_tokens && adds_eos_) ids.push_back(*eos_);
  return ids;
}

std::string SentencePieceTokenizer::decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const TokenId id : ids) {
    if (id < 0 || id >= size()) continue;
    const Entry& entry = entries_[static_cast<std::size_t>(id)];
    if (!(skip_special_tokens && entry.special)) tokens.push_back(entry.text);
  }
  decoder_->apply(tokens);
  std::string out;
  for (const std::string& t : tokens) out += t;
  return out;
}

std::optional<TokenId> SentencePieceTokenizer::token_to_id(std::string_view token) const {
  const auto it = ids_.find(std::string(token));
  if (it == ids_.end()) return std::nullopt;
  return it->second;
}

std::string SentencePieceTokenizer::id_to_token(TokenId id) const {
  return id < 0 || id >= size() ? std::string() : entries_[static_cast<std::size_t>(id)].text;
}

bool SentencePieceTokenizer::is_special(TokenId id) const {
  return id >= 0 && id < size() && entries_[static_cast<std::size_t>(id)].special;
}

bool SentencePieceTokenizer::is_byte(TokenId id) const {
  return id >= 0 && id < size() && byte_of_token(entries_[static_cast<std::size_t>(id)].text) >= 0;
}

TokenId SentencePieceTokenizer::size() const { return static_cast<TokenId>(entries_.size()); }

}  // namespace lowrank::data
