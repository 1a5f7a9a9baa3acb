#include "lowrank/kernels/row_norms.h"

#include <ATen/core/grad_mode.h>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {
constexpr std::int64_t kRows = 64;  // of W that are in the wide dtype at a time
}

at::Tensor squared_row_norms(const BaseWeight& weight) {
  const at::NoGradGuard no_grad;
  if (!weight.device().is_cpu()) return composite::squared_row_norms(weight);
  at::Tensor squared = aten::empty({weight.out_features()}, at::kDouble);
  for_row_chunks(weight.out_features(), kRows, [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor rows = weight.rows(begin, end - begin, at::kDouble);
    squared.narrow(0, begin, end - begin).copy_(rows.mul(rows).sum(1));
  });
  return squared;
}

at::Tensor adapted_row_norms(const BaseWeight& weight, const at::Tensor& squared, const at::Tensor& a,
                             const at::Tensor& b, double scale) {
  const at::NoGradGuard no_grad;
  if (!use_fused(a)) return composite::adapted_row_norms(weight, squared, a, b, scale);
  const at::Tensor wide_a = a.detach(), turned = wide_a.t();
  at::Tensor gram = aten::empty({a.size(0), a.size(0)}, a.options().dtype(at::kDouble));
  for_row_chunks(1, 1, [&](std::int64_t, std::int64_t) {
    const at::Tensor exact = wide_a.to(at::kDouble);
    aten::mm_out(gram, exact, exact.t());
  });
  at::Tensor norms = aten::empty({weight.out_features()}, a.options());
  for_row_chunks(weight.out_features(), kRows, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t n = end - begin;
    const at::Tensor product = weight.rows(begin, n, a.scalar_type()).mm(turned).to(at::kDouble);
    const at::Tensor rows = b.detach().narrow(0, begin, n).to(at::kDouble);
    // 2s⟨(W Aᵀ)_i, B_i⟩ + s² B_i (A Aᵀ) B_iᵀ = s⟨2 (W Aᵀ)_i + s B_i A Aᵀ, B_i⟩
    const at::Tensor cross = product.mul_(2).add_(rows.mm(gram), scale).mul_(rows).sum(1);
    const at::Tensor sum = squared.narrow(0, begin, n).add(cross, scale);
    norms.narrow(0, begin, n).copy_(sum.clamp_min_(kLeastNorm * kLeastNorm).sqrt_());
  });
  return norms;
}

namespace composite {

at::Tensor squared_row_norms(const BaseWeight& weight) {
  const at::Tensor wide = weight.rows(0, weight.out_features(), at::kDouble);
  return wide.mul(wide).sum(1);
}

at::Tensor adapted_row_norms(const BaseWeight& weight, const at::Tensor& /*squared*/, const at::Tensor& a,
                             const at::Tensor& b, double scale) {
  const at::Tensor sum =
      weight.rows(0, weight.out_features(), a.scalar_type()).add(b.detach().matmul(a.detach()).mul(scale));
  return sum.norm(2, {1}, false).clamp_min(kLeastNorm);
}

}  // namespace composite

}  // namespace lowrank::kernels
