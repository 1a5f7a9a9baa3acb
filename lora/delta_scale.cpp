#include "lowrank/lora/delta_scale.h"

#include <ATen/core/grad_mode.h>

#include "lowrank/core/error.h"

namespace lowrank::lora {

DeltaScale::DeltaScale(Adapter& adapter) : adapter_(adapter) {
  for (const LinearSlot& slot : adapter_.slots()) {
    if (adapter_.at(slot).magnitude.defined())
      throw ConfigError("the update of a DoRA adapter cannot be scaled: its magnitudes act on the base's weight too");
    scales_.push_back(adapter_.at(slot).scale);
  }
}

void DeltaScale::set(double t) {
  for (std::size_t i = 0; i < scales_.size(); ++i) adapter_.slots()[i]->lora(adapter_.name()).scale = t * scales_[i];
}

void fold_scale(Adapter& adapter, double t) {
  const at::NoGradGuard no_grad;
  for (const LinearSlot& slot : adapter.slots()) {
    const LoraMatrices& lora = adapter.at(slot);
    lora.b.detach().mul_(t);
    if (lora.b0.defined()) lora.b0.mul_(t);
  }
}

}  // namespace lowrank::lora
