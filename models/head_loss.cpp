#include "lowrank/models/head_loss.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/checkpoint.h"
#include "lowrank/kernels/row_losses.h"

namespace lowrank::models {

at::Tensor chunked_losses(const LogitsOf& logits_of, const at::Tensor& hidden, const at::Tensor& labels,
                          const kernels::DropoutContext* dropout, double label_smoothing) {
  constexpr std::int64_t kChunk = 256;  // rows whose logits exist at the same time
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
    const auto losses = [logits_of, part_labels, context, label_smoothing](const at::Tensor& rows) {
      return kernels::row_losses(logits_of(rows, context ? &*context : nullptr), part_labels, label_smoothing);
    };
    const at::Tensor rows = x.slice(0, begin, end);
    parts.push_back(differentiate ? kernels::checkpoint(losses, rows) : losses(rows));
  }
  return parts.empty() ? kernels::aten::zeros({0}, hidden.options().dtype(at::kFloat)) : kernels::aten::cat(parts);
}

}  // namespace lowrank::models
