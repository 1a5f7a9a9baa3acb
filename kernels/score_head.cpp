#include "lowrank/kernels/score_head.h"

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kRows = 8, kColumns = 64;  // of a chunk

at::Tensor plain(const at::Tensor& tensor) { return tensor.detach().to(at::kFloat).contiguous(); }

/// [n, k] on the other operand's device.
at::Tensor slopes_of(std::span<const double> slopes, std::int64_t rows, std::int64_t heads, at::Device device) {
  return from_host(slopes, {rows, heads}, device);
}

}  // namespace

std::vector<double> score_rows(const at::Tensor& x, const at::Tensor& weight) {
  if (!use_fused(x)) return composite::score_rows(x, weight);
  const at::Tensor rows = plain(x), heads = plain(weight);
  const float *const from = rows.const_data_ptr<float>(), *const w = heads.const_data_ptr<float>();
  const std::int64_t count = rows.size(0), width = rows.size(1), k = heads.size(0);
  std::vector<double> result(static_cast<std::size_t>(count * k));
  for_row_chunks(count, kRows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t h = 0; h < k; ++h) {
        double sum = 0;
        for (std::int64_t j = 0; j < width; ++j) sum += double{from[i * width + j]} * double{w[h * width + j]};
        result[static_cast<std::size_t>(i * k + h)] = sum;
      }
    }
  });
  return result;
}

at::Tensor score_gradient_by_rows(const at::Tensor& weight, std::span<const double> slopes) {
  if (!use_fused(weight)) return composite::score_gradient_by_rows(weight, slopes);
  const at::Tensor heads = plain(weight);
  const float* const w = heads.const_data_ptr<float>();
  const std::int64_t k = heads.size(0), width = heads.size(1), count = static_cast<std::int64_t>(slopes.size()) / k;
  at::Tensor result = aten::empty({count, width}, at::kFloat);
  float* const to = result.mutable_data_ptr<float>();
  for_row_chunks(count, kRows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t j = 0; j < width; ++j) {
        double sum = 0;
        for (std::int64_t h = 0; h < k; ++h) {
          sum += slopes[static_cast<std::size_t>(i * k + h)] * double{w[h * width + j]};
        }
        to[i * width + j] = static_cast<float>(sum);
      }
    }
  });
  return result;
}

at::Tensor score_gradient_by_weight(const at::Tensor& x, std::span<const double> slopes) {
  if (!use_fused(x)) return composite::score_gradient_by_weight(x, slopes);
  const at::Tensor rows = plain(x);
  const float* const from = rows.const_data_ptr<float>();
  const std::int64_t count = rows.size(0), width = rows.size(1), k = static_cast<std::int64_t>(slopes.size()) / count;
  at::Tensor result = aten::empty({k, width}, at::kFloat);
  float* const to = result.mutable_data_ptr<float>();
  for_row_chunks(width, kColumns, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t h = 0; h < k; ++h) {
      for (std::int64_t j = begin; j < end; ++j) {
        double sum = 0;
        for (std::int64_t i = 0; i < count; ++i) {
          sum += slopes[static_cast<std::size_t>(i * k + h)] * double{from[i * width + j]};
        }
        to[h * width + j] = static_cast<float>(sum);
      }
    }
  });
  return result;
}

namespace composite {

std::vector<double> score_rows(const at::Tensor& x, const at::Tensor& weight) {
  return to_host<double>(x.detach().to(at::kDouble).matmul(weight.detach().to(at::kDouble).t()));
}

at::Tensor score_gradient_by_rows(const at::Tensor& weight, std::span<const double> slopes) {
  const at::Tensor w = weight.detach().to(at::kDouble);
  const std::int64_t k = w.size(0);
  const at::Tensor s = slopes_of(slopes, static_cast<std::int64_t>(slopes.size()) / k, k, w.device());
  return s.matmul(w).to(at::kFloat);
}

at::Tensor score_gradient_by_weight(const at::Tensor& x, std::span<const double> slopes) {
  const at::Tensor rows = x.detach().to(at::kDouble);
  const at::Tensor s =
      slopes_of(slopes, rows.size(0), static_cast<std::int64_t>(slopes.size()) / rows.size(0), rows.device());
  return s.t().matmul(rows).to(at::kFloat);
}

}  // namespace composite

}  // namespace lowrank::kernels
