// How much memory training takes, and how much there is.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "lowrank/data/plan.h"
#include "lowrank/models/config.h"
#include "lowrank/models/dtype.h"

namespace lowrank::recipes {

/// Tokens of the largest micro-batch of an epoch.
std::int64_t largest_micro_batch(const data::Plan& plan, const std::vector<std::int64_t>& lengths);
/// What the backward pass keeps of so many tokens.
std::uint64_t activation_bytes(const models::DecoderConfig& config, std::int64_t tokens, at::ScalarType dtype);
/// MemAvailable of /proc/meminfo, in bytes; nothing where there is none.
std::optional<std::uint64_t> available_memory();

}  // namespace lowrank::recipes
