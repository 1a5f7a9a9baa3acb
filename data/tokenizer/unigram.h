// SentencePiece's Unigram model as PyPI tokenizers has it: the pieces whose scores together are the best.
#pragma once

#include <memory>
#include <vector>

#include "lowrank/data/tokenizer/token_model.h"
#include "lowrank/data/tokenizer/trie.h"

namespace lowrank::data {

class Unigram : public TokenModel {
 public:
  Unigram(const core::JsonView& model, ModelTables tables);

  /// Linear in the piece's length, times that of the longest token. DataError for a character that no token has where
  /// there is no unk_id.
  void encode(std::string_view piece, std::vector<TokenId>& ids) const override;

 private:
  void append_unknown(std::string_view text, std::vector<TokenId>& ids) const;

  std::vector<double> scores_;  // by id
  double unknown_score_ = 0;    // of a character that no token has
  std::unique_ptr<const Trie> tokens_;
  std::vector<TokenId> byte_ids_;  // of <0x00> to <0xFF>, -1 where there is none; empty without byte fallback
  std::string where_;
};

}  // namespace lowrank::data
