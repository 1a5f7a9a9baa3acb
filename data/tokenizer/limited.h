// A tokenizer that knows tokens for which a model has no row.
#pragma once

#include <memory>

#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::data {

/// The same tokenizer, but that a text with an id of `rows` or more is refused (DataError that names the token), when
/// it occurs: a padding token on top of the vocabulary never does.
std::shared_ptr<const Tokenizer> limited(std::shared_ptr<const Tokenizer> tokenizer, TokenId rows);

}  // namespace lowrank::data
