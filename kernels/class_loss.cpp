#include "lowrank/kernels/class_loss.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "lowrank/core/softmax.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kRows = 16;

void check(const at::Tensor& logits, std::span<const std::int64_t> labels) {
  if (logits.dim() != 2 || static_cast<std::size_t>(logits.size(0)) != labels.size())
    throw InternalError("kernels::class_loss: logits [n, classes] and n labels are expected");
  for (const std::int64_t label : labels) {
    if (label < 0 || label >= logits.size(1))
      throw InternalError("kernels::class_loss: label " + std::to_string(label) + " is outside the " +
                          std::to_string(logits.size(1)) + " classes");
  }
}

}  // namespace

ClassLoss class_loss(const at::Tensor& logits, std::span<const std::int64_t> labels, double smoothing) {
  check(logits, labels);
  if (!use_fused(logits)) return composite::class_loss(logits, labels, smoothing);
  const at::Tensor z = logits.detach().contiguous();
  const std::int64_t rows = z.size(0), classes = z.size(1);
  ClassLoss result;
  result.losses.resize(static_cast<std::size_t>(rows));
  result.predicted.resize(static_cast<std::size_t>(rows));
  result.gradient = aten::empty({rows, classes}, z.options());
  const double everywhere = smoothing / static_cast<double>(classes);
  with_wide_type(z, [&](auto tag) {
    using T = decltype(tag);
    const T* const values = z.const_data_ptr<T>();
    T* const gradient = result.gradient.mutable_data_ptr<T>();
    for_row_chunks(rows, kRows, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const T* const row = values + i * classes;
        const std::int64_t label = labels[static_cast<std::size_t>(i)];
        const core::ExpSum exponentials = core::exp_sum(std::span(row, static_cast<std::size_t>(classes)));
        double mean = 0;
        for (std::int64_t k = 0; k < classes; ++k) mean += static_cast<double>(row[k]) / static_cast<double>(classes);
        const double log_sum = exponentials.largest + std::log(exponentials.sum);
        result.losses[static_cast<std::size_t>(i)] =
            log_sum - (1 - smoothing) * static_cast<double>(row[label]) - smoothing * mean;
        result.predicted[static_cast<std::size_t>(i)] = std::max_element(row, row + classes) - row;
        for (std::int64_t k = 0; k < classes; ++k) {
          const double slope = std::exp(static_cast<double>(row[k]) - log_sum) - everywhere;
          gradient[i * classes + k] = static_cast<T>(k == label ? slope - (1 - smoothing) : slope);
        }
      }
    });
  });
  return result;
}

namespace composite {

ClassLoss class_loss(const at::Tensor& logits, std::span<const std::int64_t> labels, double smoothing) {
  const at::NoGradGuard no_grad;
  const std::int64_t rows = logits.size(0), classes = logits.size(1);
  const at::Tensor logs = logits.detach().log_softmax(1, at::kDouble);
  at::Tensor wanted = aten::zeros({rows, classes}, logs.options());
  wanted.scatter_(1, from_host(labels, {rows, 1}, logits.device()), 1 - smoothing);
  wanted.add_(smoothing / static_cast<double>(classes));
  return {to_host<double>(logs.mul(wanted).sum(1).neg()), to_host<std::int64_t>(logits.detach().argmax(1)),
          logs.exp().sub(wanted).to(logits.scalar_type())};
}

}  // namespace composite

}  // namespace lowrank::kernels
