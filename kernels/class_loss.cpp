#include "lowrank/kernels/class_loss.h"

#include <algorithm>
#include <cmath>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kRows = 16;

}  // namespace

ClassLoss class_loss(const at::Tensor& logits, std::span<const std::int64_t> labels, double smoothing) {
  const at::Tensor z = logits.detach().contiguous();
  const std::int64_t rows = z.size(0), classes = z.size(1);
  ClassLoss result;
  result.losses.resize(static_cast<std::size_t>(rows));
  result.predicted.resize(static_cast<std::size_t>(rows));
  result.gradient = aten::empty({rows, classes}, at::kFloat);
  const float* const values = z.const_data_ptr<float>();
  float* const gradient = result.gradient.mutable_data_ptr<float>();
  const double everywhere = smoothing / static_cast<double>(classes);
  for_row_chunks(rows, kRows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float* const row = values + i * classes;
      const std::int64_t label = labels[static_cast<std::size_t>(i)];
      const float* const largest = std::max_element(row, row + classes);
      double sum = 0, target = 0;
      for (std::int64_t k = 0; k < classes; ++k) {
        sum += std::exp(static_cast<double>(row[k]) - *largest);
        target += everywhere * row[k];
      }
      target += (1 - smoothing) * row[label];
      const double log_sum = *largest + std::log(sum);
      result.losses[static_cast<std::size_t>(i)] = log_sum - target;
      result.predicted[static_cast<std::size_t>(i)] = largest - row;
      for (std::int64_t k = 0; k < classes; ++k) {
        const double wanted = everywhere + (k == label ? 1 - smoothing : 0);
        gradient[i * classes + k] = static_cast<float>(std::exp(row[k] - log_sum) - wanted);
      }
    }
  });
  return result;
}

}  // namespace lowrank::kernels
