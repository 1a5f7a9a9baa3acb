// The linear layer with low-rank adapters (Hu et al. 2021, eq. 3; PEFT's lora.Linear): y = x Wᵀ + b + Σ s·drop(x) Aᵀ
// Bᵀ.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "lowrank/kernels/base_weight.h"
#include "lowrank/kernels/dropout.h"

namespace lowrank::kernels {

/// x [M, in] -> x Wᵀ + b [M, out] in x's dtype; no autograd.
at::Tensor base_forward(const at::Tensor& x, const BaseWeight& base);
/// g [M, out] -> g W [M, in] in g's dtype; no autograd.
at::Tensor base_backward(const at::Tensor& g, const BaseWeight& base);

/// One adapter at one layer. A [r, in] and B [out, r], fp32 (cast to x's dtype for the products when x is bf16).
struct LoraOperand {
  at::Tensor a, b;
  double scale = 1;    // α/r, or α/√r with rsLoRA
  double dropout = 0;  // on the adapter's input only
  std::array<std::uint32_t, 2> dropout_key{};
  /// DoRA (Liu et al. 2024, eq. 5 and §4.3; PEFT's dora.py): m [out], a leaf, and n [out] = ‖W + s·B A‖ by rows, a
  /// constant (row_norms.h). With them the adapter adds (m/n − 1)∘(drop(x) Wᵀ) + (m/n)∘s·drop(x) Aᵀ Bᵀ; the bias is not
  /// scaled. Both undefined: plain LoRA. The base must be frozen.
  at::Tensor magnitude = {}, norms = {};
};

/// x [T, in] -> [T, out] in x's dtype, differentiable in x, A, B, and in the base weight and bias where they require
/// it. Saves x and x Aᵀ; never forms B A; no gradient for a frozen base, none for x where x needs none. Backward: u = g
/// B; dB = s gᵀ t; dA = s uᵀ x; dx = g W + s u A (t = drop(x) Aᵀ). fp32 and fp64 or bf16 x.
at::Tensor lora_linear(const at::Tensor& x, const BaseWeight& base, std::span<const LoraOperand> adapters,
                       const DropoutContext* dropout);

namespace composite {
at::Tensor lora_linear(const at::Tensor& x, const BaseWeight& base, std::span<const LoraOperand> adapters,
                       const DropoutContext* dropout);
}

}  // namespace lowrank::kernels
