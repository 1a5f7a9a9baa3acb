#include "lowrank/kernels/row_losses.h"

#include <ATen/core/grad_mode.h>

#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kIgnored = -100;
constexpr std::int64_t kRows = 16;  // of a chunk

void check_labels(const at::Tensor& labels, std::int64_t classes) {
  const std::int64_t* const label = labels.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < labels.size(0); ++i) {
    if (label[i] != kIgnored && (label[i] < 0 || label[i] >= classes))
      throw InternalError("kernels::row_losses: label " + std::to_string(label[i]) + " of row " + std::to_string(i) +
                          " is outside the " + std::to_string(classes) + " classes");
  }
}

at::Tensor losses_backward(const BackwardPass& pass, double smoothing) {
  const at::Tensor& log_probabilities = pass.saved[0];
  const std::int64_t* const label = pass.saved[1].const_data_ptr<std::int64_t>();
  const at::Tensor upstream = pass.gradient.contiguous();
  at::Tensor result = log_probabilities.new_empty(log_probabilities.sizes());
  const std::int64_t width = log_probabilities.size(1);
  with_wide_type(log_probabilities, [&](auto tag) {
    using T = decltype(tag);
    const T* const g = upstream.const_data_ptr<T>();
    const T* const from = log_probabilities.const_data_ptr<T>();
    T* const to = result.mutable_data_ptr<T>();
    const auto on_label = static_cast<T>(1 - smoothing);
    const auto on_each = static_cast<T>(smoothing / static_cast<double>(width));
    for_row_chunks(log_probabilities.size(0), kRows, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const T scale = label[i] == kIgnored ? T{0} : g[i];
        for (std::int64_t j = 0; j < width; ++j) to[i * width + j] = scale * (std::exp(from[i * width + j]) - on_each);
        if (label[i] != kIgnored) to[i * width + label[i]] -= scale * on_label;
      }
    });
  });
  return result;
}

ForwardPass losses_forward(const at::Tensor& logits, const at::Tensor& labels, double smoothing) {
  const std::int64_t rows = logits.size(0), width = logits.size(1);
  const at::Tensor log_probabilities = row_log_softmax(logits);
  at::Tensor losses = aten::zeros({rows}, log_probabilities.options());
  const std::int64_t* const label = labels.const_data_ptr<std::int64_t>();
  with_wide_type(log_probabilities, [&](auto tag) {
    using T = decltype(tag);
    const T* const values = log_probabilities.const_data_ptr<T>();
    T* const loss = losses.mutable_data_ptr<T>();
    for_row_chunks(rows, kRows, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        if (label[i] == kIgnored) continue;
        const T* const row = values + i * width;
        loss[i] = -row[label[i]];
        if (smoothing == 0) continue;
        const double mean = std::accumulate(row, row + width, 0.0) / static_cast<double>(width);
        loss[i] = static_cast<T>((1 - smoothing) * static_cast<double>(loss[i]) - smoothing * mean);
      }
    });
  });
  return {losses,
          {log_probabilities, labels},
          [smoothing, dtype = logits.scalar_type()](const BackwardPass& pass) {
            return std::vector<at::Tensor>{losses_backward(pass, smoothing).to(dtype)};
          }};
}

}  // namespace

at::Tensor row_losses(const at::Tensor& logits, const at::Tensor& labels, double smoothing) {
  if (!use_fused(logits)) return composite::row_losses(logits, labels, smoothing);
  const at::Tensor wanted = labels.contiguous();
  check_labels(wanted, logits.size(1));
  return differentiable({logits}, [&] { return losses_forward(logits, wanted, smoothing); });
}

at::Tensor row_log_softmax(const at::Tensor& logits) {
  const at::NoGradGuard no_grad;
  if (!use_fused(logits)) return composite::row_log_softmax(logits);
  const auto dtype = wide_dtype(logits);
  at::Tensor result = aten::empty(logits.sizes(), logits.options().dtype(dtype));
  for_row_chunks(logits.size(0), kRows, [&](std::int64_t begin, std::int64_t end) {
    result.slice(0, begin, end).copy_(logits.detach().slice(0, begin, end).log_softmax(1, dtype));
  });
  return result;
}

}  // namespace lowrank::kernels
