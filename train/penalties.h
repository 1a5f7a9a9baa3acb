// L1 and L2 penalties on the trained parameters (A and B of an adapter).
#pragma once

#include <ATen/core/Tensor.h>

namespace lowrank::train {

/// l1·‖p‖₁ + l2/2·‖p‖², for the `penalty` key of metrics.jsonl. Fixed order, in double.
double penalty_value(const at::Tensor& values, double l1, double l2);

/// gradients += l2 · values, once a step. (L1 has no gradient here: see shrink.)
void add_l2_gradient(at::Tensor& gradients, const at::Tensor& values, double l2);

/// The proximal step of the L1 penalty, after the optimiser's: p <- sign(p)·max(|p| - threshold, 0), threshold = lr·l1.
/// It makes exact zeros, which a subgradient never does.
void shrink(at::Tensor& values, double threshold);

/// Share of parameters that are exactly 0.
double share_of_zeros(const at::Tensor& values);

}  // namespace lowrank::train
