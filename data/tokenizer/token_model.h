// The "model" of tokenizer.json: the vocabulary, and how a piece of text becomes its ids.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/tokenizer/model_tables.h"
#include "lowrank/data/tokenizer/vocabulary.h"

namespace lowrank::data {

class TokenModel {
 public:
  virtual ~TokenModel() = default;

  /// BPE, Unigram, WordPiece, WordLevel. `tables` has the model's vocabulary and merges, which `model` need not hold
  /// (but says of which kind they are). FormatError for another type, and for a vocabulary that cannot be.
  static std::unique_ptr<const TokenModel> make(const core::JsonView& model, ModelTables tables);

  /// Appends the ids of one piece, which is valid UTF-8 and not empty.
  virtual void encode(std::string_view piece, std::vector<TokenId>& ids) const = 0;

  /// Where the part of `piece` that begins at `from` ends, the piece's end at the latest: parts that are encoded one by one give the
  /// same ids.
  virtual std::size_t part_end(std::string_view piece, std::size_t /*from*/) const { return piece.size(); }

  const Vocabulary& vocabulary() const { return vocabulary_; }
  std::optional<TokenId> unk() const { return unk_; }

 protected:
  TokenModel() = default;
  explicit TokenModel(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  /// FormatError unless the model's "vocab" is {"token": id, ...} and has some.
  void check_vocabulary(const core::JsonView& model) const;

  Vocabulary vocabulary_;
  std::optional<TokenId> unk_;
};

}  // namespace lowrank::data
