// How new adapter matrices begin.
#pragma once

#include <cstdint>
#include <string>

#include "lowrank/lora/linear_slot.h"

namespace lowrank::lora {

/// A [r, in] and B [out, r] as leaves that require grad. A by `init`: "default" U(±1/√in), "gaussian" N(0, 1/r²); B
/// zero. Each number depends on (seed, name, its place) alone. fp32, or fp64 where `dtype` is.
LoraMatrices new_matrices(const std::string& name, std::int64_t in, std::int64_t out, std::int64_t r,
                          const std::string& init, std::uint64_t seed, at::ScalarType dtype = at::kFloat);

}  // namespace lowrank::lora
