// The mixers of hybrids, which carry a state from token to token instead of keys and values. A state belongs to one
// segment and is empty at its beginning, so that a packed stream gives what its segments give one by one.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "lowrank/kernels/segments.h"

namespace lowrank::kernels {

struct DeltaRuleShape {
  std::int64_t key_heads = 0, value_heads = 0;  // key_heads divides value_heads: a key head serves a run of them
  std::int64_t key_dim = 0, value_dim = 0;      // of a head

  std::int64_t key_columns() const { return key_heads * key_dim; }
  std::int64_t value_columns() const { return value_heads * value_dim; }
  std::int64_t columns() const { return 2 * key_columns() + value_columns(); }
};

/// The gated delta rule (Yang et al. 2024, arXiv 2412.06464), as transformers' Qwen3.5 has it. Of each value head a
/// state S [key_dim, value_dim] in fp32, empty at the beginning of a segment:
///     S ← e^g S;  S ← S + β k (v − Sᵀk)ᵀ;  o = Sᵀq / √key_dim,
/// q and k divided by their lengths (√(Σx² + 1e-6)). qkv [T, columns]: queries and keys of all key heads, values of all
/// value heads; g [T, value_heads] fp32, not above 0; beta [T, value_heads]. Gives [T, value_heads, value_dim] in qkv's
/// dtype. Chunks of 64 tokens at a time. Differentiable in qkv, g and beta.
at::Tensor gated_delta_rule(const at::Tensor& qkv, const at::Tensor& g, const at::Tensor& beta,
                            const DeltaRuleShape& shape, const Segments& segments);
/// The same, without gradients, from a state a segment, [value_heads, key_dim, value_dim] fp32; undefined: empty. They
/// become those after the segments' last tokens, in memory of their own.
at::Tensor gated_delta_rule(const at::Tensor& qkv, const at::Tensor& g, const at::Tensor& beta,
                            const DeltaRuleShape& shape, const Segments& segments, std::vector<at::Tensor>& states);

/// Its decay g = −e^A_log · softplus(a + dt_bias) in fp32, [T, H]: a [T, H], A_log and dt_bias [H]. Differentiable in
/// all three.
at::Tensor delta_decay(const at::Tensor& a, const at::Tensor& a_log, const at::Tensor& dt_bias);

/// A causal convolution of each channel by itself, inside each segment: y_t = f(bias + Σ_j weight[:, j] x_{t−k+1+j}),
/// zero before the segment; f is SiLU where `silu`, else nothing. x [T, C], weight [C, k], bias [C] or undefined.
/// Computed in fp32 and rounded once. Differentiable in x, weight and bias.
at::Tensor causal_convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                              const Segments& segments, bool silu);
/// The same, without gradients, after what each segment had before, [k − 1, C] of x's dtype; undefined: zeros. They
/// become the last k − 1 tokens, in memory of their own.
at::Tensor causal_convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                              const Segments& segments, bool silu, std::vector<at::Tensor>& before);

namespace composite {
at::Tensor gated_delta_rule(const at::Tensor& qkv, const at::Tensor& g, const at::Tensor& beta,
                            const DeltaRuleShape& shape, const Segments& segments, std::vector<at::Tensor>& states);
at::Tensor delta_decay(const at::Tensor& a, const at::Tensor& a_log, const at::Tensor& dt_bias);
at::Tensor causal_convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                              const Segments& segments, bool silu, std::vector<at::Tensor>& before);
}  // namespace composite

}  // namespace lowrank::kernels
