// Cross-entropy through a head that carries an adapter.
#pragma once

#include <ATen/core/Tensor.h>

#include "lowrank/kernels/dropout.h"
#include "lowrank/lora/linear_slot.h"

namespace lowrank::models {

/// As kernels::linear_cross_entropy, through the slot: fp32 losses [T], 0 where labels are -100. Logits are made for a
/// few rows at a time and made again in the backward pass.
at::Tensor adapted_head_losses(lora::LinearSlot head, const at::Tensor& hidden, const at::Tensor& labels,
                               const kernels::DropoutContext* dropout, double label_smoothing = 0);

/// -log softmax(logits)[label] a row, fp32 [T]; logits [T, V] of any float dtype, labels int64 [T], 0 for -100. With
/// label smoothing as kernels::smoothed_cross_entropy has it.
/// Differentiable in logits; independent of the number of threads (LibTorch's softmax backward is not at odd widths).
at::Tensor row_losses(const at::Tensor& logits, const at::Tensor& labels, double label_smoothing = 0);

}  // namespace lowrank::models
