// AdamW on the flat buffers; owns the moments.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lowrank/kernels/ops.h"

namespace lowrank::train {

class Optimizer {
 public:
  /// `options.lr` is set anew at each step.
  Optimizer(std::int64_t size, const kernels::AdamWOptions& options);
  /// One update of values [n] by gradients [n]; `step` counts from 1.
  void step(at::Tensor& values, const at::Tensor& gradients, std::int64_t step, double lr);
  at::Tensor& exp_avg() { return exp_avg_; }        // fp32 [n]
  at::Tensor& exp_avg_sq() { return exp_avg_sq_; }  // fp32 [n]

 private:
  kernels::AdamWOptions options_;
  at::Tensor exp_avg_, exp_avg_sq_;
};

}  // namespace lowrank::train
