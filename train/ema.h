// An exponential moving average of the trained parameters: what is evaluated and saved in their place.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lowrank::train {

class Ema {
 public:
  /// Starts from `values` (fp32 [n]). `decay` in (0, 1).
  Ema(double decay, const at::Tensor& values);
  /// average += (1 − d) · (values − average) after optimiser step `step` (from 1), with d = min(decay, (1 + step) /
  /// (10 + step)): a short run is not held at its start (tf.train.ExponentialMovingAverage's num_updates).
  void update(const at::Tensor& values, std::int64_t step);
  at::Tensor& average() { return average_; }  // fp32 [n]
  /// The numbers of `values` and the average change places.
  void exchange(at::Tensor& values);

 private:
  double decay_;
  at::Tensor average_;
};

/// The average is in the parameters for a scope, where there is one (`ema` not null).
class Averaged {
 public:
  Averaged(Ema* ema, at::Tensor& values) : ema_(ema), values_(values) {
    if (ema_ != nullptr) ema_->exchange(values_);
  }
  ~Averaged() {
    if (ema_ != nullptr) ema_->exchange(values_);
  }
  Averaged(const Averaged&) = delete;
  Averaged& operator=(const Averaged&) = delete;

 private:
  Ema* ema_;
  at::Tensor& values_;
};

}  // namespace lowrank::train
