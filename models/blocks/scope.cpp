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
         std::any_of(slots.begin(), slots.end(), [](const lora::LinearSlot& slot) { return slot->trains(); }) ||
         std::any_of(routers.begin(), routers.end(), [](const lora::LinearSlot& slot) { return slot->trains(); }) ||
         std::any_of(experts.begin(), experts.end(), [](const lora::ExpertsSlot& slot) { return slot->trains(); });
}

Scope::Scope(WeightSource& weights, Modules& modules, lora::ModulePtr root, std::string prefix)
    : weights_(weights), modules_(modules), root_(std::move(root)), prefix_(std::move(prefix)) {}

Scope Scope::inside(const std::string& name) const { return {weights_, modules_, root_, prefix_ + name + "."}; }

at::Tensor Scope::take(const std::string& name, const std::vector<std::int64_t>& shape, const Initial& initial) const {
  return weights_.take(prefix_ + name, shape, initial);
}

void Scope::add_tree(const std::string& path, const lora::ModulePtr& module) const {
  std::string name = path;  // module names hold no dots
  std::replace(name.begin(), name.end(), '.', '_');
  lora::add_module(root_, name, module);
}

lora::LinearSlot Scope::linear(const std::string& name, const LinearShape& shape) const {
  const CodedWeight place = place_of(name, shape);
  return modules_.slots.emplace_back(make_linear(name, shape, shape.as_stored ? weights_.sharded(place) : frozen(place)));
}

lora::LinearSlot Scope::router(const std::string& name, const LinearShape& shape) const {
  return modules_.routers.emplace_back(make_linear(name, shape, nullptr));
}

Scope::Storage Scope::frozen(const CodedWeight& weight) const {
  Storage storage = weights_.sharded(weight);
  return storage != nullptr ? storage : weights_.coded(weight);
}

CodedWeight Scope::place_of(const std::string& name, const LinearShape& shape) const {
  return {prefix_ + name + ".weight", -1, shape.transposed, shape.out, shape.in};
}

kernels::BaseWeight Scope::table(const std::string& name, std::int64_t rows, std::int64_t columns) const {
  if (Storage storage = weights_.sharded({prefix_ + name, -1, false, rows, columns}))
    return kernels::BaseWeight(std::move(storage));
  return kernels::BaseWeight::dense(take(name, {rows, columns}));
}

lora::LinearSlot Scope::make_linear(const std::string& name, const LinearShape& shape, const Storage& storage) const {
  const std::string path = prefix_ + name;
  const at::Tensor weight = storage == nullptr ? take(name + ".weight", place_of(name, shape).shape(),
                                                      {Initial::Kind::kNormal, shape.deviation})
                                               : at::Tensor();
  const at::Tensor bias =
      shape.bias ? in_dtype(take(name + ".bias", {shape.out}, {Initial::Kind::kZeros}), dtype()) : at::Tensor();
  lora::StoredWeight stored = stored_weight(path);
  stored.transposed = shape.transposed;
  const auto slot = std::make_shared<lora::LinearSlotImpl>(
      path,
      storage == nullptr ? kernels::BaseWeight::dense(weight, bias, {.transposed = shape.transposed})
                         : kernels::BaseWeight(storage, bias),
      std::move(stored));
  add_tree(path, slot->module());
  return slot;
}

lora::LinearSlot Scope::shared_linear(const std::string& name, const kernels::BaseWeight& weight) const {
  const auto slot = std::make_shared<lora::LinearSlotImpl>(prefix_ + name, weight);
  add_tree(slot->path(), slot->module());
  return modules_.slots.emplace_back(slot);
}

lora::StoredWeight Scope::stored_weight(const std::string& path) const {
  return {weights_.stored_name(path + ".weight"), weights_.stored_name(path + ".bias")};
}

lora::WholeModule Scope::parameters_at(const std::string& path, const std::vector<Parameter>& parameters) const {
  std::vector<lora::NamedTensor> base;
  for (const Parameter& one : parameters) {
    at::Tensor tensor = weights_.take(path + "." + one.name, one.shape, one.initial);
    if (!one.as_stored) tensor = in_dtype(tensor, dtype());
    base.push_back({one.name, one.fixed ? tensor.detach() : tensor});
  }
  auto module = std::make_shared<lora::WholeModuleImpl>(path, std::move(base), stored_weight(path));
  modules_.whole.push_back(module);
  return module;
}

lora::WholeModule Scope::parameters(const std::string& name, const std::vector<Parameter>& parameters) const {
  return parameters_at(prefix_ + name, parameters);
}

lora::WholeModule Scope::own_parameters(const std::vector<Parameter>& parameters) const {
  return parameters_at(prefix_.substr(0, prefix_.size() - 1), parameters);
}

}  // namespace lowrank::models
