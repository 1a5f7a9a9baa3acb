// Dropout by counters: whether an element is dropped depends on (seed, slot's stream, step, token in the step's plan,
// column) alone. No at::dropout.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

#include "lowrank/kernels/dropout_mask.h"

namespace lowrank::kernels {

/// Where in the run a forward pass stands; null in evaluation and generation, which have no dropout.
struct DropoutContext {
  std::uint64_t seed = 0;
  std::uint64_t step = 0;                       // optimiser step, from 0
  const std::int64_t* token_in_step = nullptr;  // [T]: index of each row's token in the step's plan
};

/// x [T, d] with elements zeroed with probability p and the rest scaled by 1/(1-p). The mask is not stored:
/// apply_dropout(grad, …) with the same arguments is the backward. `key` is the slot's stream (RandomStream::key()).
at::Tensor apply_dropout(const at::Tensor& x, double p, std::array<std::uint32_t, 2> key, std::uint64_t step,
                         const std::int64_t* token_in_step);

/// x as an adapter sees it: x itself, or in fp32 with what it drops.
at::Tensor dropped_input(const at::Tensor& x, const DropoutPlace& dropout);

}  // namespace lowrank::kernels
