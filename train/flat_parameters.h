// All trainable parameters as views of one fp32 buffer, their gradients of another.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "lowrank/lora/adapter.h"

namespace lowrank::train {

class FlatParameters {
 public:
  /// Moves each tensor's data into the buffer (set_data) and gives it a gradient that is a view of the other.
  explicit FlatParameters(std::vector<lora::NamedTensor> parameters);
  at::Tensor& values() { return values_; }  // fp32 [n]
  at::Tensor& gradients() { return gradients_; }
  const std::vector<lora::NamedTensor>& parameters() const { return parameters_; }
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
