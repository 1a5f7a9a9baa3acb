#include "lowrank/lora/layer_modules.h"

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>

#include <ostream>

namespace lowrank::lora {
namespace {

class LoraFactor : public torch::nn::Module {
 public:
  explicit LoraFactor(const at::Tensor& weight)
      : weight_(register_parameter("weight", weight, weight.requires_grad())) {}
  void pretty_print(std::ostream& stream) const override {
    stream << "lowrank::lora::LoraFactor(" << weight_.sizes() << ")";
  }

 private:
  at::Tensor weight_;
};

}  // namespace

ModulePtr holder_module(const std::string& name) { return std::make_shared<torch::nn::Module>(name); }

// Made as (1, 1): torch::nn::Linear always initialises, 0.4 s for 8192 x 8192, and in fp32 only.
LinearModule linear_module(const at::Tensor& weight, const at::Tensor& bias) {
  torch::nn::Linear layer(torch::nn::LinearOptions(1, 1).bias(bias.defined()));
  layer->options.in_features(weight.size(1)).out_features(weight.size(0));
  layer->weight.set_requires_grad(false);
  layer->weight.set_data(weight.detach());
  if (bias.defined()) {
    layer->bias.set_requires_grad(false);
    layer->bias.set_data(bias.detach());
  }
  return {layer.ptr(), layer->weight, layer->bias};
}

ModulePtr factor_module(const at::Tensor& weight) { return std::make_shared<LoraFactor>(weight); }

void add_module(const ModulePtr& parent, const std::string& name, const ModulePtr& child) {
  parent->register_module(name, child);
}

void remove_module(const ModulePtr& parent, const std::string& name) { parent->unregister_module(name); }

}  // namespace lowrank::lora
