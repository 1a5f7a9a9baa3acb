#include "lowrank/lora/linear_slot.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>

#include <algorithm>
#include <ostream>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/random.h"
#include "lowrank/lora/delta.h"

namespace lowrank::lora {
namespace {

// Made as (1, 1): torch::nn::Linear always initialises, 0.4 s for 8192 x 8192, and in fp32 only.
torch::nn::Linear linear_over(const at::Tensor& weight, const at::Tensor& bias) {
  torch::nn::Linear layer(torch::nn::LinearOptions(1, 1).bias(bias.defined()));
  layer->options.in_features(weight.size(1)).out_features(weight.size(0));
  layer->weight.set_requires_grad(false);
  layer->weight.set_data(weight.detach());
  if (bias.defined()) {
    layer->bias.set_requires_grad(false);
    layer->bias.set_data(bias.detach());
  }
  return layer;
}

// One factor of an adapter as a module, so that its tensor's name ends in ".weight" as PEFT's does.
class LoraFactor : public torch::nn::Module {
 public:
  explicit LoraFactor(at::Tensor weight) : weight_(register_parameter("weight", weight, weight.requires_grad())) {}
  void pretty_print(std::ostream& stream) const override {
    stream << "lowrank::lora::LoraFactor(" << weight_.size(0) << ", " << weight_.size(1) << ")";
  }

 private:
  at::Tensor weight_;
};

}  // namespace

LinearSlotImpl::LinearSlotImpl(std::string path, at::Tensor weight, at::Tensor bias)
    : path_(std::move(path)), module_(std::make_shared<torch::nn::Module>("LinearSlot")) {
  if (weight.dim() != 2)
    throw InternalError(fmt::format("the weight of {} has {} dimensions; a linear layer's has 2", path_, weight.dim()));
  const torch::nn::Linear base_layer = module_->register_module("base_layer", linear_over(weight, bias));
  weight_ = base_layer->weight;
  bias_ = base_layer->bias;
  rebind();
}

void LinearSlotImpl::rebind() {
  base_ = kernels::BaseWeight(weight_, bias_);
  unmerge();
}

at::Tensor LinearSlotImpl::forward(const at::Tensor& x, const kernels::DropoutContext* dropout) {
  if (!adapted() || !enabled_) return kernels::lora_linear(x, base_, {}, nullptr);
  if (merged()) {
    if (dropout != nullptr || (at::GradMode::is_enabled() && x.requires_grad()))
      throw ConfigError(
          fmt::format("{} is merged, and its adapter cannot be trained like that; call unmerge() first", path_));
    return kernels::lora_linear(x, merged_base_, {}, nullptr);
  }
  kernels::LoraOperand operand{lora_->a, lora_->b, lora_->scale, lora_->dropout, {}};
  const bool drops = dropout != nullptr && lora_->dropout > 0;
  if (drops) operand.dropout_key = core::RandomStream(dropout->seed, "dropout:" + path_).key();
  return kernels::lora_linear(x, base_, {&operand, 1}, drops ? dropout : nullptr);
}

void LinearSlotImpl::attach(LoraMatrices matrices) {
  if (adapted())
    throw ConfigError(fmt::format("{} already carries an adapter; detach it before another is attached", path_));
  const auto& a = matrices.a;
  const auto& b = matrices.b;
  if (a.dim() != 2 || b.dim() != 2 || a.size(0) != matrices.r || b.size(1) != matrices.r ||
      a.size(1) != base_.in_features() || b.size(0) != base_.out_features())
    throw ModelError(fmt::format("{}: lora_A must be [{}, {}] and lora_B [{}, {}]", path_, matrices.r,
                                 base_.in_features(), base_.out_features(), matrices.r));
  module_->register_module("lora_A", std::make_shared<LoraFactor>(a));
  module_->register_module("lora_B", std::make_shared<LoraFactor>(b));
  lora_ = std::move(matrices);
  enabled_ = true;
}

void LinearSlotImpl::detach() {
  if (!adapted()) return;
  unmerge();
  module_->unregister_module("lora_A");
  module_->unregister_module("lora_B");
  lora_.reset();
}

void LinearSlotImpl::merge() {
  if (!adapted() || merged()) return;
  const at::Tensor& weight = base_.weight();
  const at::NoGradGuard no_grad;
  at::Tensor sum = at::empty(weight.sizes(), weight.options());
  const std::int64_t block = rows_per_block(weight.size(1));
  for (std::int64_t begin = 0; begin < weight.size(0); begin += block) {
    const std::int64_t end = std::min(begin + block, weight.size(0));
    sum.slice(0, begin, end).copy_(merged_rows(weight, *lora_, begin, end));
  }
  merged_base_ = kernels::BaseWeight(sum, base_.bias());
  merged_weight_ = sum;
}

void LinearSlotImpl::unmerge() {
  merged_base_ = kernels::BaseWeight();
  merged_weight_ = at::Tensor();
}

at::Tensor LinearSlotImpl::delta_weight() const {
  if (!adapted()) throw InternalError(fmt::format("{} has no adapter, so no delta", path_));
  return delta_rows(*lora_, 0, base_.out_features());
}

}  // namespace lowrank::lora
