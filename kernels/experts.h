// A mixture of experts: products of each token with the matrices of its experts, over rows sorted by expert (router.h),
// and what is made of them. There is no loop over experts with masks, and no gathered copy of x is kept.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>

#include "lowrank/kernels/experts_weight.h"
#include "lowrank/kernels/router.h"

namespace lowrank::kernels {

using SharedRows = std::shared_ptr<const ExpertRows>;

/// One adapter on all experts of a layer: A [E, r, in] and B [E, out, r], of any strides.
struct ExpertsLora {
  at::Tensor a, b;
  double scale = 1;
};

/// y = x Wₑᵀ + bₑ + Σ s·x Aₑᵀ Bₑᵀ for each row and its expert e -> [T K, out] in x's dtype. x is [T, in] where it
/// is `by_token`, and a row takes that of its token; else [T K, in], by rows. Differentiable in x, A, B, and in W and b
/// where they require it; saves x and x Aᵀ. Tiles of at most 256 rows of one expert by columns of fixed number, each
/// one GEMM of one thread.
at::Tensor experts_linear(const at::Tensor& x, const SharedRows& rows, bool by_token, const ExpertsWeight& weight,
                          std::span<const ExpertsLora> adapters);

/// y [T K, d] and weights [T, K] -> Σ_k weights[t, k] · y[row of (t, k)], [T, d] in y's dtype: summed in fp32 in the
/// order of k, rounded once. Differentiable in both.
at::Tensor combine_experts(const at::Tensor& y, const at::Tensor& weights, const SharedRows& rows);

/// gpt-oss's gate over neighbours: of x [N, 2 f] the even columns are gates g and the odd ones u; with g' = min(g,
/// limit) and u' = clamp(u, ±limit) it is (u' + 1) · g' · sigmoid(alpha g'), [N, f], in fp32 rounded once.
at::Tensor clamped_swiglu(const at::Tensor& x, double alpha, double limit);

namespace composite {
at::Tensor experts_linear(const at::Tensor& x, const SharedRows& rows, bool by_token, const ExpertsWeight& weight,
                          std::span<const ExpertsLora> adapters);
at::Tensor combine_experts(const at::Tensor& y, const at::Tensor& weights, const SharedRows& rows);
at::Tensor clamped_swiglu(const at::Tensor& x, double alpha, double limit);
}  // namespace composite

}  // namespace lowrank::kernels
