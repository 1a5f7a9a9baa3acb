// How much memory training takes.
#pragma once

#include <cstdint>
#include <vector>

#include "lowrank/data/plan.h"
#include "lowrank/models/config.h"
#include "lowrank/models/dtype.h"

namespace lowrank::recipes {

/// Tokens of the largest micro-batch of an epoch.
std::int64_t largest_micro_batch(const data::Plan& plan, const std::vector<std::int64_t>& lengths);
/// What the backward pass keeps of so many tokens.
std::uint64_t activation_bytes(const models::DecoderConfig& config, std::int64_t tokens, at::ScalarType dtype);

}  // namespace lowrank::recipes
