// What training sees of data: token ids, which of them are learned, and where they came from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::data {

/// One sequence: an instruction example, or a piece of a document. It is a segment of its own: positions start at 0 and
/// nothing outside it is seen. The loss is over ids[i] with learned[i] != 0 and i > 0 (the first token is not
/// predicted).
struct Example {
  std::vector<TokenId> ids;
  std::vector<std::uint8_t> learned;  // as long as ids
  std::uint32_t document = 0;         // index into Dataset::documents
  std::int64_t cut = 0;               // tokens left off at its end: a row longer than seq_len

  std::int64_t counted() const;  // number of tokens in the loss
};

/// Where a document or row came from, for messages: "corpus/a.txt" or "train.jsonl line 12".
struct Document {
  std::string where;
  bool duplicate = false;  // the same text came before
};

}  // namespace lowrank::data
