// The two halves of lora_linear without autograd, for its autograd::Function and for base_forward / base_backward.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <utility>
#include <vector>

#include "lowrank/kernels/dropout_mask.h"
#include "lowrank/kernels/lora_linear.h"

namespace lowrank::kernels {

/// An adapter as the products take it: a and b in the products' dtype.
struct LoraFactors {
  at::Tensor a, b;
  double scale = 1;
  DropoutPlace dropout;        // p = 0: none
  at::Tensor gain = {};        // DoRA's m/n [out], fp32 (fp64 for fp64), which b holds already; undefined: none
  bool trains = true;          // whether its gradients are wanted
  bool keeps_product = false;  // whether LoraForward::product is
};

struct LoraForward {
  at::Tensor y;
  std::vector<at::Tensor> t;        // drop(x) Aᵀ [M, r] of each adapter, in the products' dtype
  std::vector<at::Tensor> product;  // drop(x) Wᵀ [M, out] of each adapter that keeps it, in x's dtype
};
LoraForward lora_forward(const at::Tensor& x, const BaseWeight& base, std::span<const LoraFactors> adapters);

struct LoraNeeds {
  bool dx = false, dw = false, dbias = false, adapters = false;
};
struct LoraBackward {
  at::Tensor dx, dw, dbias;
  std::vector<at::Tensor> da, db;  // fp32 (fp64 for fp64), db that of b as it was given; undefined where !trains
};
/// x may be undefined where neither dw nor adapters' gradients are needed.
LoraBackward lora_backward(const at::Tensor& g, const at::Tensor& x, const BaseWeight& base,
                           std::span<const LoraFactors> adapters, std::span<const at::Tensor> t,
                           const LoraNeeds& needs);

/// DoRA's other gradients from that of gain∘B, `d`: (gain∘d, (Σ_t g∘product + Σ_r B∘d) / n) for B [out, r] and m [out].
std::pair<at::Tensor, at::Tensor> dora_gradients(const at::Tensor& g, const at::Tensor& product, const at::Tensor& b,
                                                 const at::Tensor& d, const at::Tensor& magnitude,
                                                 const at::Tensor& norms);

}  // namespace lowrank::kernels
