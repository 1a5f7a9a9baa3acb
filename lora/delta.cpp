#include "lowrank/lora/delta.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <vector>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/low_rank_product.h"
#include "lowrank/kernels/row_norms.h"

namespace lowrank::lora {
namespace {

at::ScalarType wide(at::ScalarType dtype) { return dtype == at::kDouble ? at::kDouble : at::kFloat; }

// m/n by row, n the norms of `sum`, the rows [begin, end) of W + ΔW.
at::Tensor gain_of(const at::Tensor& sum, const LoraMatrices& lora, std::int64_t begin, std::int64_t end) {
  const at::Tensor norms =
      kernels::squared_row_norms(kernels::BaseWeight::dense(sum)).sqrt_().clamp_min_(kernels::kLeastNorm);
  return lora.magnitude.detach().slice(0, begin, end).to(at::kDouble).div(norms).to(sum.scalar_type());
}

}  // namespace

at::Tensor delta_rows(const LoraMatrices& lora, std::int64_t begin, std::int64_t end) {
  const LoraMatrices whole = plain(lora);
  return kernels::summed_product(whole.b.detach().slice(0, begin, end), whole.a, lora.scale);
}

at::Tensor merged_rows(const at::Tensor& rows, const LoraMatrices& lora, std::int64_t begin, std::int64_t end) {
  const at::NoGradGuard no_grad;
  at::Tensor sum = rows.detach().to(wide(rows.scalar_type())).add(delta_rows(lora, begin, end));
  if (lora.magnitude.defined()) sum.mul_(gain_of(sum, lora, begin, end).unsqueeze(1));
  return sum.to(rows.scalar_type());
}

at::Tensor merge_gain(const kernels::BaseWeight& weight, const LoraMatrices& lora) {
  if (!lora.magnitude.defined()) return {};
  const at::NoGradGuard no_grad;
  const std::int64_t out = weight.out_features(), block = rows_per_block(weight.in_features());
  std::vector<at::Tensor> parts;
  for (std::int64_t begin = 0; begin < out; begin += block) {
    const std::int64_t end = std::min(begin + block, out);
    const at::Tensor rows = weight.rows(begin, end - begin, wide(weight.dtype()));
    parts.push_back(gain_of(rows.add(delta_rows(lora, begin, end)), lora, begin, end));
  }
  return kernels::aten::cat(parts);
}

at::Tensor merged_columns(const at::Tensor& columns, const LoraMatrices& lora, std::int64_t begin, std::int64_t end,
                          const at::Tensor& gain) {
  const at::NoGradGuard no_grad;
  LoraMatrices part = plain(lora);
  part.a = part.a.detach().slice(1, begin, end);
  at::Tensor sum = columns.detach().to(wide(columns.scalar_type())).add(delta_rows(part, 0, columns.size(0)));
  if (gain.defined()) sum.mul_(gain.unsqueeze(1));
  return sum.to(columns.scalar_type());
}

std::int64_t rows_per_block(std::int64_t columns) {
  constexpr std::int64_t kElements = 1 << 20;
  return std::max<std::int64_t>(1, kElements / std::max<std::int64_t>(1, columns));
}

}  // namespace lowrank::lora
