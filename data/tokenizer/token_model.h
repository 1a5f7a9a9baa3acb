// The "model" of tokenizer.json: the vocabulary, and how a piece of text becomes its ids.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/tokenizer/vocabulary.h"

namespace lowrank::data {

class TokenModel {
 public:
  virtual ~TokenModel() = default;

  /// BPE, Unigram, WordPiece, WordLevel. FormatError for another type, and for a vocabulary that cannot be.
  static std::unique_ptr<const TokenModel> make(const core::JsonView& model);

  /// Appends the ids of one piece, which is valid UTF-8 and not empty.
  virtual void encode(std::string_view piece, std::vector<TokenId>& ids) const = 0;

  const Vocabulary& vocabulary() const { return vocabulary_; }
  std::optional<TokenId> unk() const { return unk_; }

 protected:
  /// {"token": id, ...}
  void read_vocabulary(const core::JsonView& vocab);

  Vocabulary vocabulary_;
  std::optional<TokenId> unk_;
};

}  // namespace lowrank::data
