// The value of a state: one number from a hidden state. Sums in a fixed order, whatever the number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace lowrank::train {

/// w·h, as the `score` layer (no bias) of transformers' sequence classification. Starts at zero.
class ValueHead {
 public:
  explicit ValueHead(std::int64_t width, at::Device device = at::kCPU);
  /// fp32 [1, d], a leaf that requires grad.
  const at::Tensor& weight() const { return weight_; }
  /// hidden [T, d] of any float dtype -> a value for each token.
  std::vector<double> values(const at::Tensor& hidden) const;
  /// Given dloss/dvalue of each token: adds the weight's gradient to weight().grad() and propagates through `hidden`.
  void backward(const at::Tensor& hidden, const std::vector<double>& slopes);

 private:
  at::Tensor weight_;
};

}  // namespace lowrank::train
