#include "lowrank/lora/whole_module.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "lowrank/core/error.h"

namespace lowrank::lora {
namespace {

const NamedTensor* find(const std::vector<NamedTensor>& tensors, const std::string& name) {
  const auto it =
      std::find_if(tensors.begin(), tensors.end(), [&](const NamedTensor& one) { return one.name == name; });
  return it == tensors.end() ? nullptr : &*it;
}

}  // namespace

std::vector<NamedTensor> own_tensors(const kernels::BaseWeight& base) {
  std::vector<NamedTensor> result;
  if (base.gives_views(base.dtype())) {
    const at::Tensor weight = base.trains() ? base.trained() : base.rows(0, base.out_features(), base.dtype());
    // One that is transposed and trained is a view of its leaf, and the leaf is what a trainer moves.
    const bool leaf_below = base.transposed() && base.trains();
    const at::Tensor stored = base.transposed() ? weight.t() : weight;
    result.push_back({"weight", leaf_below ? at::Tensor(weight._base()) : stored});
  }
  if (base.bias().defined()) result.push_back({"bias", base.bias()});
  return result;
}

WholeModuleImpl::WholeModuleImpl(std::string path, std::vector<NamedTensor> base, StoredWeight stored)
    : path_(std::move(path)), stored_(std::move(stored)), base_(std::move(base)) {
  if (stored_.tensor.empty()) stored_.tensor = path_ + ".weight";
  if (stored_.bias.empty()) stored_.bias = path_ + ".bias";
}

at::Tensor WholeModuleImpl::current(const std::string& name) const {
  const AdapterList<std::vector<NamedTensor>>::Entry* owner = nullptr;
  at::Tensor result;
  for (const auto& one : adapters_) {
    if (!one.enabled) continue;
    const NamedTensor* const copy = find(one.value, name);
    if (copy == nullptr) continue;
    if (owner != nullptr)
      throw ConfigError(
          fmt::format("the adapters '{}' and '{}' both bring a {} of their own for {}; enable one at a time",
                      owner->name, one.name, name, path_));
    owner = &one;
    result = copy->tensor;
  }
  if (owner != nullptr) return result;
  const NamedTensor* const own = find(base_, name);
  return own == nullptr ? at::Tensor() : own->tensor;
}

bool WholeModuleImpl::brings(const std::string& name) const {
  return std::any_of(adapters_.begin(), adapters_.end(),
                     [&](const auto& one) { return one.enabled && find(one.value, name) != nullptr; });
}

std::vector<NamedTensor> WholeModuleImpl::fresh_copies(const std::vector<std::string>& names) const {
  std::vector<NamedTensor> result;
  for (const std::string& name : names) {
    const NamedTensor* const own = find(base_, name);
    if (own == nullptr) continue;
    const at::Tensor copy = own->tensor.detach().to(at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
    result.push_back({name, at::Tensor(copy).set_requires_grad(true)});
  }
  return result;
}

void WholeModuleImpl::attach(std::vector<NamedTensor> copies, const std::string& adapter) {
  adapters_.require_free(adapter, path_);
  for (const NamedTensor& copy : copies) {
    const NamedTensor* const own = find(base_, copy.name);
    if (own == nullptr) throw ModelError(fmt::format("{} has no {} that an adapter could replace", path_, copy.name));
    if (copy.tensor.sizes() != own->tensor.sizes())
      throw ModelError(fmt::format("{}.{} must be [{}], found [{}]", path_, copy.name,
                                   fmt::join(own->tensor.sizes(), ", "), fmt::join(copy.tensor.sizes(), ", ")));
  }
  adapters_.add(adapter, path_, std::move(copies));
}

}  // namespace lowrank::lora
