#include "lowrank/models/blocks/scope.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace lowrank::models {
namespace {

// In the run's dtype; a tensor that is trained is in it already and must stay the leaf that it is.
at::Tensor in_dtype(const at::Tensor& tensor, at::ScalarType dtype) {
  return tensor.scalar_type() == dtype ? tensor : tensor.to(dtype);
}

}  // namespace

bool Modules::trains() const {
  const auto whole_trains = [](const lora::WholeModule& module) {
    return std::any_of(module->base().begin(), module->base().end(),
                       [&](const lora::NamedTensor& own) { return module->current(own.name).requires_grad(); });
  };
  return std::any_of(whole.begin(), whole.end(), whole_trains) ||
         std::any_of(slots.begin(), slots.end(), [](const lora::LinearSlot& slot) { return slot->trains(); });
}

Scope::Scope(WeightSource& weights, Modules& modules, lora::ModulePtr root, std::string prefix)
    : weights_(weights), modules_(modules), root_(std::move(root)), prefix_(std::move(prefix)) {}

Scope Scope::inside(const std::string& name) const { return {weights_, modules_, root_, prefix_ + name + "."}; }

at::Tensor Scope::take(const std::string& name, const std::vector<std::int64_t>& shape, const Initial& initial) const {
  return weights_.take(prefix_ + name, shape, initial);
}

void Scope::add(const lora::LinearSlot& slot) const {
  modules_.slots.push_back(slot);
  std::string name = slot->path();  // module names hold no dots
  std::replace(name.begin(), name.end(), '.', '_');
  lora::add_module(root_, name, slot->module());
}

lora::LinearSlot Scope::linear(const std::string& name, const LinearShape& shape) const {
  const std::vector<std::int64_t> stored =
      shape.transposed ? std::vector{shape.in, shape.out} : std::vector{shape.out, shape.in};
  const at::Tensor weight = take(name + ".weight", stored, {Initial::Kind::kNormal, shape.deviation});
  const at::Tensor bias =
      shape.bias ? in_dtype(take(name + ".bias", {shape.out}, {Initial::Kind::kZeros}), dtype()) : at::Tensor();
  const std::string path = prefix_ + name;
  const auto slot = std::make_shared<lora::LinearSlotImpl>(
      path, kernels::BaseWeight::dense(weight, bias, {.transposed = shape.transposed}), stored_weight(path));
  add(slot);
  return slot;
}

lora::LinearSlot Scope::shared_linear(const std::string& name, const at::Tensor& weight) const {
  const auto slot = std::make_shared<lora::LinearSlotImpl>(prefix_ + name, kernels::BaseWeight::dense(weight));
  add(slot);
  return slot;
}

lora::StoredWeight Scope::stored_weight(const std::string& path) const {
  return {weights_.stored_name(path + ".weight"), weights_.stored_name(path + ".bias")};
}

lora::WholeModule Scope::parameters(const std::string& name, const std::vector<Parameter>& parameters) const {
  std::vector<lora::NamedTensor> base;
  for (const Parameter& one : parameters) {
    base.push_back({one.name, in_dtype(take(name + "." + one.name, one.shape, one.initial), dtype())});
  }
  const std::string path = prefix_ + name;
  auto module = std::make_shared<lora::WholeModuleImpl>(path, std::move(base), stored_weight(path));
  modules_.whole.push_back(module);
  return module;
}

}  // namespace lowrank::models
