#include "lowrank/models/blocks/head.h"

#include "lowrank/kernels/activation.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/smoothed_cross_entropy.h"
#include "lowrank/models/head_loss.h"

namespace lowrank::models {

Head::Head(const HeadSpec& spec, std::int64_t width, std::int64_t vocabulary, const kernels::BaseWeight& shared,
           const Scope& root)
    : spec_(spec),
      slot_(shared.defined() ? root.shared_linear(spec.name, shared)
                             : root.linear(spec.name, {.in = width, .out = vocabulary, .bias = spec.bias, .as_stored = true})) {}

at::Tensor Head::logits(const at::Tensor& hidden, const kernels::DropoutContext* dropout) const {
  at::Tensor z = slot_->forward(hidden, dropout);
  if (spec_.scale == 1 && spec_.cap == 0) return z;
  z = z.to(at::kFloat);
  if (spec_.scale != 1) z = z.mul(spec_.scale);
  return spec_.cap == 0 ? z : kernels::soft_cap(z, spec_.cap);
}

at::Tensor Head::logits(const at::Tensor& hidden) const { return logits(hidden, nullptr).to(at::kFloat); }

at::Tensor Head::losses(const at::Tensor& hidden, const at::Tensor& labels, const kernels::DropoutContext* dropout,
                        double label_smoothing) const {
  const kernels::BaseWeight head = slot_->current();
  const bool plain =
      slot_->bare() && !head.bias().defined() && spec_.scale == 1 && spec_.cap == 0;
  if (plain) return kernels::smoothed_cross_entropy(hidden, head, labels, label_smoothing);
  // By value: the closures run again in the backward pass.
  const auto logits_of = [head = *this](const at::Tensor& rows, const kernels::DropoutContext* context) {
    return head.logits(rows, context);
  };
  return chunked_losses(logits_of, hidden, kernels::to_device(labels, hidden.device()), dropout, label_smoothing);
}

}  // namespace lowrank::models
