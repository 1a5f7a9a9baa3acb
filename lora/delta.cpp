#include "lowrank/lora/delta.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "lowrank/kernels/rows.h"

namespace lowrank::lora {

at::Tensor delta_rows(const LoraMatrices& lora, std::int64_t begin, std::int64_t end) {
  const at::NoGradGuard no_grad;
  const at::Tensor a = lora.a.detach().to(at::kFloat).contiguous();
  const at::Tensor b = lora.b.detach().to(at::kFloat).contiguous();
  const std::int64_t rank = a.size(0), columns = a.size(1);
  at::Tensor delta = at::empty({end - begin, columns}, a.options());
  const float* pa = a.const_data_ptr<float>();
  const float* pb = b.const_data_ptr<float>() + begin * rank;
  float* out = delta.mutable_data_ptr<float>();
  const auto scale = static_cast<float>(lora.scale);
  kernels::for_row_chunks(end - begin, 16, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      float* row = out + i * columns;
      std::fill(row, row + columns, 0.0F);
      for (std::int64_t k = 0; k < rank; ++k) {
        const float factor = pb[i * rank + k];
        const float* source = pa + k * columns;
        for (std::int64_t j = 0; j < columns; ++j) row[j] += factor * source[j];
      }
      for (std::int64_t j = 0; j < columns; ++j) row[j] *= scale;
    }
  });
  return delta;
}

at::Tensor merged_rows(const at::Tensor& weight, const LoraMatrices& lora, std::int64_t begin, std::int64_t end) {
  const at::NoGradGuard no_grad;
  const at::Tensor rows = weight.detach().slice(0, begin, end);
  const at::ScalarType wide = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return rows.to(wide).add(delta_rows(lora, begin, end)).to(weight.scalar_type());
}

std::int64_t rows_per_block(std::int64_t columns) {
  constexpr std::int64_t kElements = 1 << 20;
  return std::max<std::int64_t>(1, kElements / std::max<std::int64_t>(1, columns));
}

}  // namespace lowrank::lora
