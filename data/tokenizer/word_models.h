// The two models over whole words: WordLevel, and BERT's WordPiece.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lowrank/data/tokenizer/token_model.h"
#include "lowrank/data/tokenizer/trie.h"

namespace lowrank::data {

/// A piece is a token or unknown. DataError for an unknown one where the vocabulary has no unk_token.
class WordLevel : public TokenModel {
 public:
  WordLevel(const core::JsonView& model, ModelTables tables);
  void encode(std::string_view piece, std::vector<TokenId>& ids) const override;

 protected:
  void append_unknown(std::string_view piece, std::vector<TokenId>& ids) const;

 private:
  std::string where_;
};

/// The longest token that the piece begins with, then the longest that goes on (with ## before it), and so on; a piece
/// that cannot be cut so, or is longer than max_input_chars_per_word, is unknown.
class WordPiece : public WordLevel {
 public:
  WordPiece(const core::JsonView& model, ModelTables tables);
  void encode(std::string_view piece, std::vector<TokenId>& ids) const override;

 private:
  std::size_t max_characters_;
  std::unique_ptr<const Trie> first_, further_;
};

}  // namespace lowrank::data
