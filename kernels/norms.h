// The norms that are not Llama's.
#pragma once

#include <ATen/core/Tensor.h>

namespace lowrank::kernels {

/// RMSNorm that multiplies in fp32 and rounds once, as Gemma's (with weight 1 + w), OLMo's and gpt-oss's do: x ·
/// rsqrt(mean( x²) + eps) · weight in fp32, then x's dtype. x [T, …, d], weight [d] of any float dtype.
at::Tensor wide_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// LayerNorm (Ba et al. 2016), as torch.nn.LayerNorm: (x − mean) · rsqrt(var + eps) · weight + bias in fp32, rounded
/// once. x [T, …, d], weight and bias [d] of any float dtype; either may be undefined.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps);

/// RMSNorm under a gate, as Qwen3.5's: T(T(T(x̂) · weight) · silu(gate)), x̂ and silu in fp32, each T a rounding to x's
/// dtype. x [..., d], weight [d], and a gate of as many values as x, whose shape the result has, of one dtype.
/// Differentiable in all three.
at::Tensor gated_rms_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& gate, double eps);

namespace composite {
at::Tensor gated_rms_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& gate, double eps);
at::Tensor wide_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps);
}  // namespace composite

}  // namespace lowrank::kernels
