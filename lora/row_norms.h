// The norms that DoRA divides by, kept as long as the matrices stay as they are.
#pragma once

#include <ATen/core/Tensor.h>

#include "lowrank/kernels/base_weight.h"

namespace lowrank::lora {

/// n = ‖W + s·B A‖ by rows (kernels::adapted_row_norms). The weight's own norms are taken once; n is taken anew when an
/// element of A or B, or the scale, is another than at the call before (the trainer writes into A and B directly, so
/// that LibTorch's version counters tell nothing). Answering, decoding and the micro-batches of one step thus take it
/// once.
class RowNorms {
 public:
  /// [out], in A's dtype; a constant for autograd.
  const at::Tensor& of(const kernels::BaseWeight& weight, const at::Tensor& a, const at::Tensor& b, double scale);
  /// The weight is another one.
  void forget();

 private:
  at::Tensor squared_, a_, b_, norms_;
  double scale_ = 0;
};

}  // namespace lowrank::lora
