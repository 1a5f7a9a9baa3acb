// The two halves of lora_linear without autograd, for its autograd::Function and for base_forward / base_backward.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "lowrank/kernels/dropout_mask.h"
#include "lowrank/kernels/lora_linear.h"

namespace lowrank::kernels {

/// An adapter as the products take it: a and b in the products' dtype.
struct LoraFactors {
  at::Tensor a, b;
  double scale = 1;
  DropoutPlace dropout;  // p = 0: none
};

struct LoraForward {
  at::Tensor y;
  std::vector<at::Tensor> t;  // drop(x) Aᵀ [M, r] of each adapter, in the products' dtype
};
LoraForward lora_forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                         std::span<const LoraFactors> adapters);

struct LoraNeeds {
  bool dx = false, dw = false, dbias = false, adapters = false;
};
struct LoraBackward {
  at::Tensor dx, dw, dbias;
  std::vector<at::Tensor> da, db;  // fp32 (fp64 for fp64)
};
/// x may be undefined where neither dw nor adapters' gradients are needed.
LoraBackward lora_backward(const at::Tensor& g, const at::Tensor& x, const at::Tensor& weight,
                           std::span<const LoraFactors> adapters, std::span<const at::Tensor> t,
                           const LoraNeeds& needs);

}  // namespace lowrank::kernels
