// lora_linear's products by our own micro-kernels (gemm/product.h): A beside W's panels as they pass, s·B as further
// steps of their sums.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "lowrank/kernels/lora_linear_impl.h"

namespace lowrank::kernels {

/// What DoRA's adapters without dropout make of the base's product, by column: 1 + Σ (gain − 1). Undefined: nothing.
at::Tensor base_scale(std::span<const LoraFactors> adapters);
/// A DoRA adapter with dropout takes the base's product of its own x.
inline bool has_own_product(const LoraFactors& lora) { return lora.gain.defined() && lora.dropout.p > 0; }

/// As lora_forward.
LoraForward own_forward(const at::Tensor& x, const BaseWeight& base, std::span<const LoraFactors> adapters);

/// The same by dot products with the weights as they lie: of a few rows, with nothing dropped.
bool few_rows_fit(const at::Tensor& x, std::span<const LoraFactors> adapters);
LoraForward few_rows_forward(const at::Tensor& x, const BaseWeight& base, std::span<const LoraFactors> adapters);

/// u = g B of every adapter, fp32, and where dx is defined dx = g W + Σ s · drop(u A). g is contiguous.
std::vector<at::Tensor> own_input_gradients(const at::Tensor& g, const BaseWeight& base,
                                            std::span<const LoraFactors> adapters, const at::Tensor& dx);

}  // namespace lowrank::kernels
