// The products of one expert's rows by our own micro-kernels (gemm/product.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "lowrank/kernels/base_weight.h"

namespace lowrank::kernels {

/// An adapter at one expert: A [r, in] and B [out, r], fp32, and where x Aᵀ, or g B, is left [n, r], fp32.
struct ExpertFactors {
  at::Tensor a, b;
  double scale = 1;
  at::Tensor side;
};

/// y [n, out] fp32 or bf16 = x Wᵀ + bias + Σ s·x Aᵀ Bᵀ. W's rows are those of its parts; bias fp32 [out] or undefined.
void own_expert_forward(const at::Tensor& y, const at::Tensor& x, const std::vector<BaseWeight>& parts,
                        const at::Tensor& bias, std::span<const ExpertFactors> adapters);
/// g B of each adapter, and where dx [n, in] fp32 is defined, dx = g W + Σ s·g B A.
void own_expert_backward(const at::Tensor& dx, const at::Tensor& g, const std::vector<BaseWeight>& parts,
                         std::span<const ExpertFactors> adapters);

}  // namespace lowrank::kernels
