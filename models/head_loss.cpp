#include "lowrank/models/head_loss.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <vector>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/checkpoint.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kIgnored = -100;
constexpr std::int64_t kChunk = 256;  // rows whose logits exist at the same time

at::Tensor row_losses_backward(const kernels::BackwardPass& pass, double smoothing) {
  const at::Tensor& log_probabilities = pass.saved[0];
  const std::int64_t* label = pass.saved[1].const_data_ptr<std::int64_t>();
  const at::Tensor upstream = pass.gradient.contiguous();
  const float* g = upstream.const_data_ptr<float>();
  const float* from = log_probabilities.const_data_ptr<float>();
  at::Tensor result = log_probabilities.new_empty(log_probabilities.sizes());
  float* to = result.data_ptr<float>();
  const std::int64_t width = log_probabilities.size(1);
  const auto on_label = static_cast<float>(1 - smoothing);
  const auto on_each = static_cast<float>(smoothing / static_cast<double>(width));
  kernels::for_row_chunks(log_probabilities.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float scale = label[i] == kIgnored ? 0.0F : g[i];
      for (std::int64_t j = 0; j < width; ++j) to[i * width + j] = scale * (std::exp(from[i * width + j]) - on_each);
      if (label[i] != kIgnored) to[i * width + label[i]] -= scale * on_label;
    }
  });
  return result;
}

kernels::ForwardPass row_losses_forward(const at::Tensor& logits, const at::Tensor& labels, double smoothing) {
  const std::int64_t rows = logits.size(0);
  at::Tensor losses = kernels::aten::zeros({rows}, at::kFloat);
  at::Tensor log_probabilities = logits.new_empty(logits.sizes(), at::kFloat);
  const std::int64_t* label = labels.const_data_ptr<std::int64_t>();
  float* loss = losses.data_ptr<float>();
  kernels::for_row_chunks(rows, 16, [&](std::int64_t begin, std::int64_t end) {
    at::Tensor part = log_probabilities.slice(0, begin, end);
    part.copy_(logits.slice(0, begin, end).log_softmax(1, at::kFloat));
    const float* values = part.const_data_ptr<float>();
    for (std::int64_t i = begin; i < end; ++i) {
      if (label[i] == kIgnored) continue;
      const float* const row = values + (i - begin) * part.size(1);
      loss[i] = -row[label[i]];
      if (smoothing == 0) continue;
      const double mean = std::accumulate(row, row + part.size(1), 0.0) / static_cast<double>(part.size(1));
      loss[i] = static_cast<float>((1 - smoothing) * static_cast<double>(loss[i]) - smoothing * mean);
    }
  });
  return {losses,
          {log_probabilities, labels},
          [smoothing, dtype = logits.scalar_type()](const kernels::BackwardPass& pass) {
            return std::vector<at::Tensor>{row_losses_backward(pass, smoothing).to(dtype)};
          }};
}

}  // namespace

at::Tensor row_losses(const at::Tensor& logits, const at::Tensor& labels, double label_smoothing) {
  const at::Tensor wanted = labels.contiguous();
  return kernels::differentiable({logits}, [&] { return row_losses_forward(logits, wanted, label_smoothing); });
}

at::Tensor adapted_head_losses(lora::LinearSlot head, const at::Tensor& hidden, const at::Tensor& labels,
                               const kernels::DropoutContext* dropout, double label_smoothing) {
  const bool differentiate = at::GradMode::is_enabled();
  at::Tensor x = hidden;
  if (differentiate && !x.requires_grad()) x = x.detach().requires_grad_(true);
  std::vector<at::Tensor> parts;
  for (std::int64_t begin = 0; begin < hidden.size(0); begin += kChunk) {
    const std::int64_t end = std::min(begin + kChunk, hidden.size(0));
    std::optional<kernels::DropoutContext> context;
    if (dropout != nullptr) {
      context = *dropout;
      context->token_in_step += begin;
    }
    const at::Tensor part_labels = labels.slice(0, begin, end);
    const auto losses = [head, part_labels, context, label_smoothing](const at::Tensor& rows) {
      lora::LinearSlot slot = head;  // a const holder gives a const module, whose forward cannot be called
      return row_losses(slot->forward(rows, context ? &*context : nullptr), part_labels, label_smoothing);
    };
    const at::Tensor rows = x.slice(0, begin, end);
    parts.push_back(differentiate ? kernels::checkpoint(losses, rows) : losses(rows));
  }
  return parts.empty() ? kernels::aten::zeros({0}, at::kFloat) : kernels::aten::cat(parts);
}

}  // namespace lowrank::models
