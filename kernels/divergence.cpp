#include "lowrank/kernels/divergence.h"

#include <ATen/core/grad_mode.h>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

at::Tensor divergences(const at::Tensor& log_p, const at::Tensor& log_q) {
  const at::NoGradGuard no_grad;
  if (!use_fused(log_p) || log_p.scalar_type() != at::kFloat) return composite::divergences(log_p, log_q);
  const std::int64_t width = log_p.size(1);
  const at::Tensor result = aten::empty({log_p.size(0)}, log_p.options().dtype(at::kDouble));
  const at::Tensor from = log_p.contiguous(), to = log_q.contiguous();
  double* const out = result.mutable_data_ptr<double>();
  for_row_chunks(log_p.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor p = from.slice(0, begin, end).exp();
    const float* const weight = p.const_data_ptr<float>();
    for (std::int64_t i = begin; i < end; ++i) {
      const float* const a = from.const_data_ptr<float>() + i * width;
      const float* const b = to.const_data_ptr<float>() + i * width;
      double sum = 0;
      for (std::int64_t j = 0; j < width; ++j) {
        const float w = weight[(i - begin) * width + j];
        if (w > 0) sum += double{w} * (double{a[j]} - double{b[j]});
      }
      out[i] = sum;
    }
  });
  return result;
}

namespace composite {

at::Tensor divergences(const at::Tensor& log_p, const at::Tensor& log_q) {
  const at::Tensor p = log_p.exp().to(at::kDouble);
  const at::Tensor terms = p.mul(log_p.to(at::kDouble).sub(log_q.to(at::kDouble)));
  return terms.masked_fill(p.eq(0), 0).sum(1);
}

}  // namespace composite

}  // namespace lowrank::kernels
