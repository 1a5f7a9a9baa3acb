// The greatest values of config.json: beyond any real model, and small enough that no product of two overflows.
#pragma once

#include <cstdint>

namespace lowrank::models {

inline constexpr std::int64_t kMaxLayers = 4096, kMaxWidth = 1 << 20, kMaxHeads = 1 << 14, kMaxHeadDim = 1 << 14;
inline constexpr std::int64_t kMaxIntermediate = 1 << 24, kMaxVocabulary = 1 << 26;
inline constexpr std::int64_t kMaxExperts = 1 << 14;
inline constexpr std::int64_t kMaxPositions = std::int64_t{1} << 31, kMaxWindow = (std::int64_t{1} << 31) - 1;
inline constexpr std::int64_t kMaxTaps = 1 << 10;

}  // namespace lowrank::models
