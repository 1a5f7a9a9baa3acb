#include "lowrank/lora/delta.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/row_norms.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::lora {
namespace {

constexpr std::int64_t kStrip = 64;

// out[c] = scale · Σ_k b[k] a[k·stride + c], c < width <= kStrip. The full width is a case of its own because compilers
// vectorise loops of a known length.
void strip(const float* b, const float* a, std::int64_t rank, std::int64_t stride, std::int64_t width, float scale,
           float* out) {
  float sums[kStrip] = {};
  for (std::int64_t k = 0; k < rank; ++k, a += stride) {
    if (width == kStrip) {
      for (std::int64_t c = 0; c < kStrip; ++c) sums[c] += b[k] * a[c];
    } else {
      for (std::int64_t c = 0; c < width; ++c) sums[c] += b[k] * a[c];
    }
  }
  for (std::int64_t c = 0; c < width; ++c) out[c] = sums[c] * scale;
}

}  // namespace

at::Tensor delta_rows(const LoraMatrices& lora, std::int64_t begin, std::int64_t end) {
  const at::NoGradGuard no_grad;
  const LoraMatrices whole = plain(lora);
  const at::Tensor a = whole.a.detach().to(at::kFloat).contiguous();
  const at::Tensor b = whole.b.detach().to(at::kFloat).contiguous();
  const std::int64_t rank = a.size(0), columns = a.size(1);
  at::Tensor delta = kernels::aten::empty({end - begin, columns}, a.options());
  const float* pa = a.const_data_ptr<float>();
  const float* pb = b.const_data_ptr<float>() + begin * rank;
  float* out = delta.mutable_data_ptr<float>();
  const auto scale = static_cast<float>(lora.scale);
  kernels::for_row_chunks(end - begin, 16, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i)
      for (std::int64_t j = 0; j < columns; j += kStrip)
        strip(pb + i * rank, pa + j, rank, columns, std::min(kStrip, columns - j), scale, out + i * columns + j);
  });
  return delta;
}

at::Tensor merged_rows(const at::Tensor& rows, const LoraMatrices& lora, std::int64_t begin, std::int64_t end) {
  const at::NoGradGuard no_grad;
  const at::ScalarType wide = rows.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor sum = rows.detach().to(wide).add(delta_rows(lora, begin, end));
  if (lora.magnitude.defined()) {
    const at::Tensor norms =
        kernels::squared_row_norms(kernels::BaseWeight::dense(sum)).sqrt_().clamp_min_(kernels::kLeastNorm);
    const at::Tensor gain = lora.magnitude.detach().slice(0, begin, end).to(at::kDouble).div(norms).to(wide);
    sum.mul_(gain.unsqueeze(1));
  }
  return sum.to(rows.scalar_type());
}

std::int64_t rows_per_block(std::int64_t columns) {
  constexpr std::int64_t kElements = 1 << 20;
  return std::max<std::int64_t>(1, kElements / std::max<std::int64_t>(1, columns));
}

}  // namespace lowrank::lora
