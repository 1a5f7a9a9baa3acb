// The other ops of a decoder layer. All take and give flat streams [T, …]; each has its twin in `composite`.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "lowrank/kernels/base_weight.h"
#include "lowrank/kernels/segments.h"

namespace lowrank::kernels {

/// RMSNorm (Zhang & Sennrich 2019), as transformers' LlamaRMSNorm: x̂ = x · rsqrt(mean(x²) + eps) in fp32, rounded to
/// x's dtype, times weight. x [T, …, d], weight [d]; the norm is over the last dimension.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// Cosine and sine tables for every token, [T, rotary_dim/2] fp32.
struct RotaryTables {
  at::Tensor cos, sin;
  bool interleaved = false;  // columns 2j and 2j + 1 turn by angle j, not j and rotary_dim/2 + j
};
/// Rotary embedding on x [T, heads, head_dim]; the first 2·cos.size(1) columns turn, the rest pass. Computed in fp32,
/// given in x's dtype.
at::Tensor rotary(const at::Tensor& x, const RotaryTables& tables);

/// silu(gate) · up, both [T, f]. silu in fp32 rounded to the dtype before the product, as transformers does.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

struct AttentionOptions {
  double scale = 1;                                   // on q·k, usually head_dim^-0.5
  std::optional<std::int64_t> window = std::nullopt;  // sliding: key j is seen by query i when i - window < j <= i
  double cap = 0;                                     // scores s become cap · tanh(s / cap) (Gemma 2); 0: as they are
  at::Tensor sinks = {};  // [H]: a score of each head in its softmax that has no value (gpt-oss); undefined: none
};
/// Causal attention inside each segment, queries aligned with the last keys. q [Tq, H, d], k and v [Tk, Hkv, d] with
/// H a multiple of Hkv (query head h reads kv head h / (H/Hkv)). Gives [Tq, H, d]. Softmax in fp32. Differentiable in
/// q, k, v and the sinks.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Segments& segments,
                     const AttentionOptions& options);
/// The same, without gradients, over keys and values that lie apart: those [Tk_s, Hkv, d] of each segment; beside fp32 queries they
/// may be bf16.
at::Tensor attention(const at::Tensor& q, const std::vector<at::Tensor>& k, const std::vector<at::Tensor>& v,
                     const Segments& segments, const AttentionOptions& options);

/// Per-token cross-entropy of hidden [T, d] through the weight [V, d] of a head without bias (logits never whole in
/// memory): fp32 losses [T], 0 where labels (int64 [T]) are -100. Only rows with a label are multiplied. Differentiable
/// in hidden, and in a head that is trained. Logits are rounded to hidden's dtype, the softmax is fp32.
at::Tensor linear_cross_entropy(const at::Tensor& hidden, const BaseWeight& head, const at::Tensor& labels);

/// One AdamW step (Loshchilov & Hutter 2019, torch.optim.AdamW's order of operations) on flat fp32 buffers [n], in
/// place. `step` counts from 1. Independent of the number of threads.
struct AdamWOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
};
void adamw_step(at::Tensor& param, const at::Tensor& grad, at::Tensor& exp_avg, at::Tensor& exp_avg_sq,
                std::int64_t step, const AdamWOptions& options);

namespace composite {
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
at::Tensor rotary(const at::Tensor& x, const RotaryTables& tables);
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Segments& segments,
                     const AttentionOptions& options);
at::Tensor attention(const at::Tensor& q, const std::vector<at::Tensor>& k, const std::vector<at::Tensor>& v,
                     const Segments& segments, const AttentionOptions& options);
at::Tensor linear_cross_entropy(const at::Tensor& hidden, const BaseWeight& head, const at::Tensor& labels);
void adamw_step(at::Tensor& param, const at::Tensor& grad, at::Tensor& exp_avg, at::Tensor& exp_avg_sq,
                std::int64_t step, const AdamWOptions& options);
}  // namespace composite

}  // namespace lowrank::kernels
