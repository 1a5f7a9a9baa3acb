// AdamW on the flat buffers, with a rate of its own for ranges of them; owns the moments.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "lowrank/kernels/ops.h"
#include "lowrank/lora/adapter.h"

namespace lowrank::train {

/// Elements [begin, end) of the flat buffers, whose learning rate is the step's times `factor`.
struct RateRange {
  std::int64_t begin = 0, end = 0;
  double factor = 1;
};

/// LoRA+ (Hayou et al. 2024) as PEFT's create_loraplus_optimizer groups parameters: those named lora_B and those of one
/// dimension (DoRA's magnitudes) learn at `ratio` times the rate; the weight decay's coefficient is the same for all.
/// Neighbours of one factor are one range.
std::vector<RateRange> rate_ranges(const std::vector<lora::NamedTensor>& parameters, double ratio);

class Optimizer {
 public:
  /// `options.lr` is set anew at each step. `ranges` cover [0, size) in order.
  Optimizer(const at::Tensor& values, const kernels::AdamWOptions& options, std::vector<RateRange> ranges);
  /// One update of values [n] by gradients [n]; `step` counts from 1.
  void step(at::Tensor& values, const at::Tensor& gradients, std::int64_t step, double lr);
  at::Tensor& exp_avg() { return exp_avg_; }        // fp32 [n]
  at::Tensor& exp_avg_sq() { return exp_avg_sq_; }  // fp32 [n]

 private:
  kernels::AdamWOptions options_;
  std::vector<RateRange> ranges_;
  at::Tensor exp_avg_, exp_avg_sq_;
};

}  // namespace lowrank::train
