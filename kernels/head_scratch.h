// What the fused head takes while it makes a loss.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lowrank::kernels {

/// Room for a chunk of logits of so many labelled rows of hidden states of these options. One that is taken before the layers run, and given back before the loss is
/// made, is there for it in one piece: between what the layers keep there is none as large, and the heap would grow by it.
at::Tensor room_for_logits(std::int64_t rows, std::int64_t vocabulary, const at::TensorOptions& options);

/// Bytes of linear_cross_entropy for so many labelled rows of a head [vocabulary, width] in products of `element` bytes:
/// a chunk's logits and its rows.
std::uint64_t head_scratch_bytes(std::int64_t rows, std::int64_t vocabulary, std::int64_t width, std::int64_t element);

}  // namespace lowrank::kernels
