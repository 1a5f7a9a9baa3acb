// The prompted baseline: examples that are shown before each evaluated one, in the model's own context.
#pragma once

#include <cstdint>

#include "lowrank/data/dataset.h"

namespace lowrank::data {

struct Prompted {
  Dataset data;                     // as `evaluated`, each example with its context before it
  std::int64_t context_tokens = 0;  // shown, over all examples
  std::int64_t cut = 0;             // examples whose context did not fit whole
};

/// Before every example `shots` different ones of `pool` in the seed's choice, whole as they are (with BOS and the end
/// token), and never counted: exactly the tokens are predicted that are without them. Where an example with its context
/// is longer than `max_tokens`, the context is cut at its start. ConfigError where the pool holds fewer than `shots`,
/// or no example has room for any context.
Prompted with_shots(const Dataset& evaluated, const Dataset& pool, int shots, std::int64_t max_tokens,
                    std::uint64_t seed);

}  // namespace lowrank::data
