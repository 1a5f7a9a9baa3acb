// One head of attention over one segment by the micro-kernels: panels of queries against the keys they see, nothing
// beyond the diagonal.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace lowrank::kernels::gemm {

/// Query i of n sees keys [i + offset + 1 − window, i + offset] of m = n + offset.
struct AttentionHead {
  at::Tensor q, k, v;  // [n, d], [m, d], [m, dv]; fp32 or bf16, unit column stride
  std::int64_t offset = 0;
  std::optional<std::int64_t> window;
  double scale = 1, cap = 0;
  const float* sink = nullptr;  // its score in the softmax; null: none
};

/// out [n, dv] in q's dtype, and each row's log-sum-exp in lse [n].
void attention_forward(const AttentionHead& head, const at::Tensor& out, float* lse);

/// The same where a few queries pass over keys and values as they lie: nothing but values in bf16 is packed.
void attention_forward_few(const AttentionHead& head, const at::Tensor& out, float* lse);

/// From g and out [n, dv], fp32: dq [n, d] in its dtype; dk [m, d] and dv [m, dv], fp32, are added to. `deltas` [n], unless
/// null, becomes Σ g out of each row.
void attention_backward(const AttentionHead& head, const at::Tensor& g, const at::Tensor& out, const float* lse,
                        const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& dv, float* deltas);

/// The first and the last of these with operands in bf16, of a head in bf16 where in_bf16() holds (product.h); g and out in bf16 too.
void attention_forward_bf16(const AttentionHead& head, const at::Tensor& out, float* lse);
void attention_backward_bf16(const AttentionHead& head, const at::Tensor& g, const at::Tensor& out, const float* lse,
                             const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& dv, float* deltas);

}  // namespace lowrank::kernels::gemm
