// What a JSON file of settings may weigh. Tables of words (tokenizer.json), rows of data and indices say more.
#pragma once

#include "lowrank/core/json.h"

namespace lowrank::core {

/// The largest of released models (added tokens, chat templates) have a few MB; parsed, a file takes up to ten times
/// its size.
inline constexpr JsonLimits kSettings{.max_depth = 64, .max_bytes = std::size_t{32} << 20};

}  // namespace lowrank::core
