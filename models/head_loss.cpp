#include "lowrank/models/head_loss.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <vector>

#include "lowrank/kernels/checkpoint.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kIgnored = -100;
constexpr std::int64_t kChunk = 256;  // rows whose logits exist at the same time

class RowLosses : public torch::autograd::Function<RowLosses> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& logits,
                            const at::Tensor& labels, double smoothing) {
    const std::int64_t rows = logits.size(0);
    at::Tensor losses = at::zeros({rows}, at::kFloat);
    at::Tensor log_probabilities = at::empty_like(logits, at::kFloat);
    const std::int64_t* label = labels.const_data_ptr<std::int64_t>();
    float* loss = losses.data_ptr<float>();
    kernels::for_row_chunks(rows, 16, [&](std::int64_t begin, std::int64_t end) {
      at::Tensor part = log_probabilities.slice(0, begin, end);
      part.copy_(at::log_softmax(logits.slice(0, begin, end), 1, at::kFloat));
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
    context->save_for_backward({log_probabilities, labels});
    context->saved_data["smoothing"] = smoothing;
    context->saved_data["dtype"] = static_cast<std::int64_t>(logits.scalar_type());
    return losses;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& log_probabilities = saved[0];
    const std::int64_t* label = saved[1].const_data_ptr<std::int64_t>();
    const at::Tensor upstream = gradients[0].contiguous();
    const float* g = upstream.const_data_ptr<float>();
    const float* from = log_probabilities.const_data_ptr<float>();
    at::Tensor result = at::empty_like(log_probabilities);
    float* to = result.data_ptr<float>();
    const std::int64_t width = log_probabilities.size(1);
    const double smoothing = context->saved_data["smoothing"].toDouble();
    const auto on_label = static_cast<float>(1 - smoothing);
    const auto on_each = static_cast<float>(smoothing / static_cast<double>(width));
    kernels::for_row_chunks(log_probabilities.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const float scale = label[i] == kIgnored ? 0.0F : g[i];
        for (std::int64_t j = 0; j < width; ++j) to[i * width + j] = scale * (std::exp(from[i * width + j]) - on_each);
        if (label[i] != kIgnored) to[i * width + label[i]] -= scale * on_label;
      }
    });
    return {result.to(static_cast<at::ScalarType>(context->saved_data["dtype"].toInt())), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor row_losses(const at::Tensor& logits, const at::Tensor& labels, double label_smoothing) {
  return RowLosses::apply(logits, labels.contiguous(), label_smoothing);
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
  return parts.empty() ? at::zeros({0}, at::kFloat) : at::cat(parts);
}

}  // namespace lowrank::models
