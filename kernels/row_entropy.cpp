#include "lowrank/kernels/row_entropy.h"

#include <algorithm>

#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/loops.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

std::vector<double> row_entropies(const at::Tensor& logits) {
  if (!use_fused(logits) || logits.scalar_type() != at::kFloat) return composite::row_entropies(logits);
  const at::Tensor z = logits.detach().contiguous();
  const float* const from = z.const_data_ptr<float>();
  const std::int64_t rows = z.size(0), n = z.size(1);
  std::vector<double> result(static_cast<std::size_t>(rows));
  for_row_chunks(rows, 4, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> p(static_cast<std::size_t>(n));
    for (std::int64_t i = begin; i < end; ++i) {
      const float* const row = from + i * n;
      std::copy(row, row + n, p.begin());
      float sum = 0;
      const float log_sum = loops::softmax_row(p.data(), n, 0, n, 1, &sum);
      result[static_cast<std::size_t>(i)] =
          std::max(0.0, double{log_sum} - double{loops::dot(p.data(), row, n)} / double{sum});
    }
  });
  return result;
}

namespace composite {

std::vector<double> row_entropies(const at::Tensor& logits) {
  const at::Tensor logs = logits.detach().to(at::kDouble).log_softmax(-1);
  return to_host<double>(logs.exp().mul(logs).sum(-1).neg());
}

}  // namespace composite

}  // namespace lowrank::kernels
