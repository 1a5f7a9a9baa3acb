#include "lowrank/kernels/low_rank_product.h"

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/loops.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kRows = 256;

// x [groups, m, k] · y [groups, k, n].
at::Tensor product(const at::Tensor& x, const at::Tensor& y) {
  at::Tensor result = aten::empty({x.size(0), x.size(1), y.size(2)}, x.options());
  for (std::int64_t g = 0; g < x.size(0); ++g) {
    for_row_chunks(x.size(1), kRows, [&](std::int64_t begin, std::int64_t end) {
      at::Tensor rows = result[g].narrow(0, begin, end - begin);
      aten::mm_out(rows, x[g].narrow(0, begin, end - begin), y[g]);
    });
  }
  return result;
}

std::vector<at::Tensor> product_backward(const BackwardPass& pass) {
  const at::Tensor &b = pass.saved[0], &a = pass.saved[1], g = pass.gradient.contiguous();
  at::Tensor db, da;
  if (pass.needs(0)) db = product(g, a.transpose(1, 2));
  // By rows of Aᵀ's gradient, of which there are many, not by the few of A's.
  if (pass.needs(1)) da = product(g.transpose(1, 2), b).transpose(1, 2);
  return {db, da};
}

}  // namespace

at::Tensor low_rank_product(const at::Tensor& b, const at::Tensor& a) {
  if (!use_fused(b)) return composite::low_rank_product(b, a);
  if (!records(b, a)) return product(b, a);
  return differentiable({b, a}, [&]() -> ForwardPass { return {product(b, a), {b, a}, product_backward}; });
}

at::Tensor summed_product(const at::Tensor& b, const at::Tensor& a, double scale) {
  const at::NoGradGuard no_grad;
  if (!use_fused(b)) return composite::summed_product(b, a, scale);
  const at::Tensor left = b.detach().to(at::kFloat).contiguous(), right = a.detach().to(at::kFloat).contiguous();
  const std::int64_t rank = right.size(0), columns = right.size(1);
  at::Tensor result = aten::empty({left.size(0), columns}, left.options());
  const float *const pb = left.const_data_ptr<float>(), *const pa = right.const_data_ptr<float>();
  float* const out = result.mutable_data_ptr<float>();
  const auto factor = static_cast<float>(scale);
  for_row_chunks(left.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      loops::summed_row(pb + i * rank, pa, rank, columns, factor, out + i * columns);
  });
  return result;
}

namespace composite {

at::Tensor low_rank_product(const at::Tensor& b, const at::Tensor& a) { return b.bmm(a); }

at::Tensor summed_product(const at::Tensor& b, const at::Tensor& a, double scale) {
  const at::NoGradGuard no_grad;
  const at::Tensor left = b.detach().to(at::kFloat), right = a.detach().to(at::kFloat);
  at::Tensor sum = aten::zeros({left.size(0), right.size(1)}, left.options());
  for (std::int64_t k = 0; k < left.size(1); ++k) sum.add_(left.narrow(1, k, 1).mul(right.narrow(0, k, 1)));
  return sum.mul_(static_cast<float>(scale));
}

}  // namespace composite

}  // namespace lowrank::kernels
