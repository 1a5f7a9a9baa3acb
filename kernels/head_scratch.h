// What the fused head takes while it makes a loss.
#pragma once

#include <cstdint>

namespace lowrank::kernels {

/// Bytes of linear_cross_entropy for so many labelled rows of a head [vocabulary, width] in products of `element` bytes:
/// a chunk's logits and its rows.
std::uint64_t head_scratch_bytes(std::int64_t rows, std::int64_t vocabulary, std::int64_t width, std::int64_t element);

}  // namespace lowrank::kernels
