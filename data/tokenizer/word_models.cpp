#include "lowrank/data/tokenizer/word_models.h"

#include <fmt/format.h>

#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data {

WordLevel::WordLevel(const core::JsonView& model, ModelTables tables)
    : TokenModel(std::move(tables.vocabulary)), where_(model.where()) {
  check_vocabulary(model);
  unk_ = vocabulary_.find(model.at("unk_token").as_string());
}

void WordLevel::encode(std::string_view piece, std::vector<TokenId>& ids) const {
  if (const auto id = vocabulary_.find(piece)) {
    ids.push_back(*id);
  } else {
    append_unknown(piece, ids);
  }
}

void WordLevel::append_unknown(std::string_view piece, std::vector<TokenId>& ids) const {
  if (!unk_) {
    throw DataError(fmt::format("{}: '{}' is not in the vocabulary, and neither is unk_token, for those that are not",
                                where_, core::printable(piece, 40)));
  }
  ids.push_back(*unk_);
}

WordPiece::WordPiece(const core::JsonView& model, ModelTables tables)
    : WordLevel(model, std::move(tables)),
      max_characters_(static_cast<std::size_t>(model.get_int("max_input_chars_per_word", 100, 0, 1 << 30))) {
  const std::string prefix = model.get_string("continuing_subword_prefix", "##");
  std::vector<Trie::Entry> first, further;
  for (TokenId id = 0; id < vocabulary_.size(); ++id) {
    const auto token = vocabulary_.token(id);
    if (!token || token->empty()) continue;
    first.emplace_back(*token, id);
    if (token->size() > prefix.size() && token->starts_with(prefix)) {
      further.emplace_back(token->substr(prefix.size()), id);
    }
  }
  first_ = std::make_unique<Trie>(std::move(first));
  further_ = std::make_unique<Trie>(std::move(further));
}

void WordPiece::encode(std::string_view piece, std::vector<TokenId>& ids) const {
  if (count_characters(piece) > max_characters_) return append_unknown(piece, ids);
  const std::size_t before = ids.size();
  for (std::size_t at = 0; at < piece.size();) {
    const Trie& tokens = at == 0 ? *first_ : *further_;
    TokenId longest = -1;
    std::size_t end = at;
    std::int32_t node = Trie::kRoot;
    for (std::size_t i = at; i < piece.size();) {
      node = tokens.step(node, piece[i++]);
      if (node == Trie::kNone) break;
      if (tokens.value(node) < 0) continue;
      longest = tokens.value(node);
      end = i;
    }
    if (longest < 0) {
      ids.resize(before);
      return append_unknown(piece, ids);
    }
    ids.push_back(longest);
    at = end;
  }
}

}  // namespace lowrank::data
