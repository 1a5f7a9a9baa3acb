// What turns gradients into updates, with named state that checkpoints keep.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "lowrank/kernels/ops.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/train/flat_parameters.h"

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
  virtual ~Optimizer() = default;
  /// One update of parameters.values() by parameters.gradients(), or of each parameter by its own gradient, in its
  /// shape; `step` counts from 1.
  virtual void step(FlatParameters& parameters, std::int64_t step, double lr) = 0;
  /// What a resumed run needs, fp32 of any shapes on the parameters' device, in a fixed order; the names are those in
  /// checkpoints.
  virtual std::vector<lora::NamedTensor> state() const = 0;
};

/// torch.optim.AdamW (Loshchilov & Hutter 2019) on the flat buffers. State: exp_avg, exp_avg_sq, fp32 [n].
class AdamW : public Optimizer {
 public:
  /// `options.lr` is set anew at each step. `ranges` cover the buffers in order.
  AdamW(const FlatParameters& parameters, const kernels::AdamWOptions& options, std::vector<RateRange> ranges);
  void step(FlatParameters& parameters, std::int64_t step, double lr) override;
  std::vector<lora::NamedTensor> state() const override;

 private:
  kernels::AdamWOptions options_;
  std::vector<RateRange> ranges_;
  at::Tensor exp_avg_, exp_avg_sq_;
};

}  // namespace lowrank::train
