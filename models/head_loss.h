// Cross-entropy through a head that is more than one product: with an adapter, a bias, a scale or a soft cap.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "lowrank/kernels/dropout.h"

namespace lowrank::models {

/// Logits [n, V] of rows of hidden states [n, d].
using LogitsOf = std::function<at::Tensor(const at::Tensor& rows, const kernels::DropoutContext* dropout)>;

/// As kernels::smoothed_cross_entropy: fp32 losses [T], 0 where labels are -100. Logits are made for a few rows at a
/// time and made again in the backward pass.
at::Tensor chunked_losses(const LogitsOf& logits_of, const at::Tensor& hidden, const at::Tensor& labels,
                          const kernels::DropoutContext* dropout, double label_smoothing = 0);

}  // namespace lowrank::models
