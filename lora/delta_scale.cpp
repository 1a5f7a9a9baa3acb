#include "lowrank/lora/delta_scale.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "lowrank/core/error.h"

namespace lowrank::lora {

DeltaScale::DeltaScale(Adapter& adapter) : adapter_(adapter) {
  if (!adapter_.whole().empty())
    throw ConfigError(
        fmt::format("the update of this adapter cannot be scaled: it replaces {}'s own values, which are no "
                    "update of low rank",
                    adapter_.whole().front()->path()));
  if (!adapter_.token_rows().empty())
    throw ConfigError(
        fmt::format("the update of this adapter cannot be scaled: it has rows of its own in the place of {}'s",
                    adapter_.token_rows().front().path));
  if (adapter_.adapts_embedding()) embedding_ = adapter_.embedding()->lora(adapter_.name()).scale;
  for (const LinearSlot& slot : adapter_.slots()) {
    if (adapter_.at(slot).magnitude.defined())
      throw ConfigError("the update of a DoRA adapter cannot be scaled: its magnitudes act on the base's weight too");
    scales_.push_back(adapter_.at(slot).scale);
  }
  for (const ExpertsSlot& slot : adapter_.experts()) of_experts_.push_back(adapter_.at(slot).scale);
}

void DeltaScale::set(double t) {
  for (std::size_t i = 0; i < scales_.size(); ++i) adapter_.slots()[i]->lora(adapter_.name()).scale = t * scales_[i];
  for (std::size_t i = 0; i < of_experts_.size(); ++i)
    adapter_.experts()[i]->lora(adapter_.name()).scale = t * of_experts_[i];
  if (adapter_.adapts_embedding()) adapter_.embedding()->lora(adapter_.name()).scale = t * embedding_;
}

void fold_scale(Adapter& adapter, double t) {
  const at::NoGradGuard no_grad;
  for (const LinearSlot& slot : adapter.slots()) {
    const LoraMatrices& lora = adapter.at(slot);
    lora.b.detach().mul_(t);
    if (lora.bias.defined()) lora.bias.detach().mul_(t);
    if (lora.b0.defined()) lora.b0.mul_(t);
  }
  for (const ExpertsSlot& slot : adapter.experts()) adapter.at(slot).b.detach().mul_(t);
  if (adapter.adapts_embedding()) adapter.embedding()->lora(adapter.name()).b.detach().mul_(t);
}

}  // namespace lowrank::lora
