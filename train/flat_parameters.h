// All trainable parameters as views of one fp32 buffer, their gradients of another, each still in its own shape.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "lowrank/lora/adapter.h"

namespace lowrank::train {

class FlatParameters {
 public:
  /// Moves each tensor's data into the buffer (set_data) and gives it a gradient that is a view of the other. Both are
  /// on the parameters' device. InternalError for parameters of several devices, and for what is no fp32 leaf.
  explicit FlatParameters(std::vector<lora::NamedTensor> parameters);
  at::Tensor& values() { return values_; }  // fp32 [n]
  const at::Tensor& values() const { return values_; }
  at::Tensor& gradients() { return gradients_; }
  /// By name and in their shapes: views of values(), whose grad() are views of gradients().
  const std::vector<lora::NamedTensor>& parameters() const { return parameters_; }
  /// Where parameter `i` begins in the buffers.
  std::int64_t offset(std::size_t i) const { return offsets_.at(i); }
  std::int64_t size() const;
  void zero_gradients();  // in place: Tensor::zero_grad would break the aliasing
  /// InternalError when a parameter or gradient no longer is its view.
  void check_aliasing() const;
  /// Euclidean norm of the gradients, summed in a fixed order in double.
  double gradient_norm() const;
  bool finite() const;

 private:
  std::vector<lora::NamedTensor> parameters_;
  std::vector<std::int64_t> offsets_;
  at::Tensor values_, gradients_;
};

}  // namespace lowrank::train
