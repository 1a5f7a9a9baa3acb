#include "lowrank/lora/lora_linear.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <numeric>
#include <ostream>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/lora/config.h"
#include "lowrank/lora/init.h"

namespace lowrank::lora {

LoraLinearImpl::LoraLinearImpl(torch::nn::Linear base, const LoraLinearOptions& options)
    : torch::nn::Module("LoraLinear"), seed_(options.seed) {
  LoraConfig config;
  config.r = options.r;
  config.lora_alpha = options.alpha;
  config.lora_dropout = options.dropout;
  config.use_rslora = options.rslora;
  config.validate_new();

  for (at::Tensor& parameter : base->parameters()) parameter.set_requires_grad(false);
  slot_ = std::make_shared<LinearSlotImpl>(options.name, kernels::BaseWeight::dense(base->weight, base->bias));
  const at::ScalarType dtype = base->weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  LoraMatrices matrices = new_matrices(options.name, slot_->base().in_features(), slot_->base().out_features(),
                                       options.r, "default", options.seed, dtype);
  matrices.scale = config.scale_for(options.name);
  matrices.dropout = options.dropout;
  slot_->attach(std::move(matrices));
  // The slot's children are this module's own, so that names read fc.base_layer.weight, fc.lora_A.weight.
  for (const auto& child : slot_->module()->named_children()) register_module(child.key(), child.value());
}

at::Tensor LoraLinearImpl::forward(const at::Tensor& x) {
  const std::int64_t in = slot_->base().in_features();
  if (x.dim() == 0 || x.size(-1) != in)
    throw ConfigError(
        fmt::format("LoraLinear takes x [..., {}], got {} in its last dimension", in, x.dim() == 0 ? 0 : x.size(-1)));
  const bool training = is_training() && at::GradMode::is_enabled() && slot_->enabled();
  if (training && slot_->merged())
    throw ConfigError("a merged LoraLinear cannot be trained: call unmerge(), or eval() to use it as it is");

  const at::Tensor rows = x.reshape({-1, in});
  kernels::DropoutContext dropout;
  std::vector<std::int64_t> places;
  const bool drops = is_training() && slot_->lora().dropout > 0;
  if (drops) {
    places.resize(static_cast<std::size_t>(rows.size(0)));
    std::iota(places.begin(), places.end(), std::int64_t{0});
    dropout = {seed_, calls_++, places.data()};
  }
  std::vector<std::int64_t> sizes = x.sizes().vec();
  sizes.back() = slot_->base().out_features();
  return slot_->forward(rows, drops ? &dropout : nullptr).reshape(sizes);
}

void LoraLinearImpl::pretty_print(std::ostream& stream) const {
  const LoraMatrices& lora = slot_->lora();
  stream << fmt::format("lowrank::lora::LoraLinear(in_features={}, out_features={}, r={}, scale={}, dropout={})",
                        slot_->base().in_features(), slot_->base().out_features(), lora.r, lora.scale, lora.dropout);
}

}  // namespace lowrank::lora
