// What happens to the summed gradients before the optimiser sees them: division by the count, and clipping.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lowrank::train {

/// gradients[i] /= count, in place; a count of 0 or 1 changes nothing.
void divide_by_count(at::Tensor& gradients, std::int64_t count);

/// torch.nn.utils.clip_grad_norm_: all gradients times min(1, max_norm / (norm + 1e-6)). max_norm 0: off.
void clip_gradients(at::Tensor& gradients, double norm, double max_norm);

}  // namespace lowrank::train
