#include "lowrank/kernels/ordered_product.h"

#include <ATen/core/grad_mode.h>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kChunk = 16;

at::Tensor wide(const at::Tensor& x) { return x.to(at::kDouble).contiguous(); }

// out [m, n], of which `stride` elements part two rows, = a [m, k] · b [k, n].
void multiply(const double* a, const double* b, double* out, std::int64_t m, std::int64_t k, std::int64_t n,
              std::int64_t stride) {
  for (std::int64_t i = 0; i < m; ++i, out += stride) {
    for (std::int64_t j = 0; j < n; ++j) out[j] = 0;
    for (std::int64_t l = 0; l < k; ++l) {
      const double factor = a[i * k + l];
      for (std::int64_t j = 0; j < n; ++j) out[j] += factor * b[l * n + j];
    }
  }
}

}  // namespace

at::Tensor ordered_product(const at::Tensor& a, const at::Tensor& b) {
  const at::NoGradGuard no_grad;
  if (!use_fused(a)) return composite::ordered_product(a, b);
  const std::int64_t m = a.size(0), k = a.size(1), n = b.size(1);
  at::Tensor result = aten::empty({m, n}, a.options().dtype(at::kDouble));
  double* const out = result.mutable_data_ptr<double>();
  if (m >= n) {
    const at::Tensor right = wide(b);
    for_row_chunks(m, kChunk, [&](std::int64_t begin, std::int64_t end) {
      const at::Tensor left = wide(a.narrow(0, begin, end - begin));
      multiply(left.const_data_ptr<double>(), right.const_data_ptr<double>(), out + begin * n, end - begin, k, n, n);
    });
  } else {
    const at::Tensor left = wide(a);
    for_row_chunks(n, kChunk, [&](std::int64_t begin, std::int64_t end) {
      const at::Tensor right = wide(b.narrow(1, begin, end - begin));
      multiply(left.const_data_ptr<double>(), right.const_data_ptr<double>(), out + begin, m, k, end - begin, n);
    });
  }
  return result;
}

namespace composite {

at::Tensor ordered_product(const at::Tensor& a, const at::Tensor& b) {
  return a.to(at::kDouble).matmul(b.to(at::kDouble));
}

}  // namespace composite

}  // namespace lowrank::kernels
