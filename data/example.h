// What training sees of data: token ids, which of them are learned, and where they came from.
#pragma once

#include <cstdint>

#include "lowrank/data/place.h"
#include "lowrank/data/tokenizer/tokenizer.h"
#include "lowrank/data/values.h"

namespace lowrank::data {

/// One sequence: an instruction example, or a piece of a document. It is a segment of its own: positions start at 0 and
/// nothing outside it is seen. The loss is over ids[i] with learned[i] != 0 and i > 0 (the first token is not
/// predicted). Of a data set that lies in the token cache both are read where they lie (Dataset::storage).
struct Example {
  Values<TokenId> ids;
  Values<std::uint8_t> learned;     // as long as ids
  std::uint32_t document = 0;       // index into Dataset::documents
  std::uint32_t cut = 0;            // tokens left off at its end: a row longer than seq_len
  std::int32_t known_counted = -1;  // counted(), where it was stored with the mask: who changes that sets -1

  std::int64_t counted() const;  // number of tokens in the loss
};

static_assert(sizeof(Example) == 48);  // a data set has millions

/// Where a document or row came from.
struct Document {
  Place where;
  bool duplicate : 1 = false;     // the same text came before
  std::uint32_t source : 31 = 0;  // which of the paths that were given it lies at
  float margin = 0;               // by which the chosen answer of a pair should be better
};
static_assert(sizeof(Document) == 32);

}  // namespace lowrank::data
