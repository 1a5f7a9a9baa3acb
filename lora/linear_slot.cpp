#include "lowrank/lora/linear_slot.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/random.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/lora/delta.h"

namespace lowrank::lora {
namespace {

// PEFT's lora_A.NAME, but that the default adapter's goes without, as in its files.
std::string child(const char* factor, const std::string& adapter) {
  return adapter == kDefaultAdapter ? factor : fmt::format("{}_{}", factor, adapter);
}

// What an adapter is made of: the modules' names, and their tensors.
std::vector<std::pair<const char*, at::Tensor>> children(const LoraMatrices& lora) {
  std::vector<std::pair<const char*, at::Tensor>> result = {{"lora_A", lora.a}, {"lora_B", lora.b}};
  if (lora.magnitude.defined()) result.emplace_back("lora_magnitude_vector", lora.magnitude);
  return result;
}

}  // namespace

LoraMatrices plain(const LoraMatrices& lora) {
  if (!lora.a0.defined()) return lora;
  LoraMatrices result = lora;
  result.a = kernels::aten::cat({lora.a.detach(), lora.a0}, 0);
  result.b = kernels::aten::cat({lora.b.detach(), lora.b0.neg()}, 1);
  result.r = 2 * lora.r;
  result.a0 = result.b0 = at::Tensor();
  return result;
}

LinearSlotImpl::LinearSlotImpl(std::string path, kernels::BaseWeight base, StoredWeight stored)
    : path_(std::move(path)), module_(holder_module("LinearSlot")), base_(std::move(base)) {
  std::vector<NamedTensor> tensors = own_tensors(base_);
  if (!base_.transposed() && !tensors.empty() && tensors.front().name == "weight")
    add_module(module_, "base_layer", linear_module(tensors.front().tensor, base_.bias()));
  if (base_.transposed()) stored.transposed = true;
  whole_ = std::make_shared<WholeModuleImpl>(path_, std::move(tensors), std::move(stored));
}

kernels::BaseWeight LinearSlotImpl::current() const {
  if (!whole_->enabled()) return base_;
  const at::Tensor bias = whole_->current("bias");
  if (!whole_->brings("weight")) return base_.with_bias(bias);
  return kernels::BaseWeight::dense(whole_->current("weight"), bias, {.transposed = base_.transposed()});
}

bool LinearSlotImpl::trains() const {
  if (enabled() && !merged()) return true;
  const kernels::BaseWeight now = current();
  return now.trains() || (now.bias().defined() && now.bias().requires_grad());
}

void LinearSlotImpl::rebind() {
  for (Attached& one : adapters_) one.norms.forget();
  unmerge();
}

const LinearSlotImpl::Attached* LinearSlotImpl::find(const std::string& adapter) const {
  const auto found =
      std::find_if(adapters_.begin(), adapters_.end(), [&](const Attached& one) { return one.name == adapter; });
  return found == adapters_.end() ? nullptr : &*found;
}

bool LinearSlotImpl::adapted(const std::string& adapter) const { return find(adapter) != nullptr; }

const LoraMatrices& LinearSlotImpl::lora(const std::string& adapter) const {
  const Attached* const found = find(adapter);
  if (found == nullptr) throw InternalError(fmt::format("{} has no adapter '{}'", path_, adapter));
  return found->matrices;
}

LoraMatrices& LinearSlotImpl::lora(const std::string& adapter) {
  return const_cast<LoraMatrices&>(std::as_const(*this).lora(adapter));
}

void LinearSlotImpl::set_enabled(bool enabled, const std::string& adapter) {
  for (Attached& one : adapters_)
    if (one.name == adapter) one.enabled = enabled;
}

bool LinearSlotImpl::enabled() const {
  return std::any_of(adapters_.begin(), adapters_.end(), [](const Attached& one) { return one.enabled; });
}

at::Tensor LinearSlotImpl::forward(const at::Tensor& x, const kernels::DropoutContext* dropout) {
  const kernels::BaseWeight base = current();
  if (!enabled()) return kernels::lora_linear(x, base, {}, nullptr);
  if (!base.same(base_))
    throw ConfigError(fmt::format(
        "one adapter brings a weight of its own for {}, and another changes the base's; enable one at a time", path_));
  if (merged()) {
    if (dropout != nullptr || (at::GradMode::is_enabled() && x.requires_grad()))
      throw ConfigError(
          fmt::format("{} is merged, and its adapter cannot be trained like that; call unmerge() first", path_));
    return kernels::lora_linear(x, merged_, {}, nullptr);
  }
  std::vector<kernels::LoraOperand> operands;
  bool any_drops = false;
  for (Attached& one : adapters_) {
    if (!one.enabled) continue;
    const LoraMatrices& lora = one.matrices;
    if (lora.a0.defined()) operands.push_back(kernels::LoraOperand{lora.a0, lora.b0, -lora.scale, 0, {}});
    kernels::LoraOperand& operand =
        operands.emplace_back(kernels::LoraOperand{lora.a, lora.b, lora.scale, lora.dropout, {}});
    if (lora.magnitude.defined()) {
      operand.magnitude = lora.magnitude;
      operand.norms = one.norms.of(base_, lora.a, lora.b, lora.scale);
    }
    if (dropout == nullptr || lora.dropout == 0) continue;
    any_drops = true;
    const std::string stream = one.name == kDefaultAdapter ? path_ : one.name + ":" + path_;
    operand.dropout_key = core::RandomStream(dropout->seed, "dropout:" + stream).key();
  }
  return kernels::lora_linear(x, base, operands, any_drops ? dropout : nullptr);
}

void LinearSlotImpl::attach(LoraMatrices matrices, const std::string& adapter) {
  if (adapted(adapter))
    throw ConfigError(fmt::format("{} already carries the adapter '{}'; detach it, or give the new one another name",
                                  path_, adapter));
  const auto& a = matrices.a;
  const auto& b = matrices.b;
  if (a.dim() != 2 || b.dim() != 2 || a.size(0) != matrices.r || b.size(1) != matrices.r ||
      a.size(1) != base_.in_features() || b.size(0) != base_.out_features())
    throw ModelError(fmt::format("{}: lora_A must be [{}, {}] and lora_B [{}, {}]", path_, matrices.r,
                                 base_.in_features(), base_.out_features(), matrices.r));
  if (matrices.magnitude.defined() && matrices.magnitude.sizes() != at::IntArrayRef{base_.out_features()})
    throw ModelError(fmt::format("{}: lora_magnitude_vector must be [{}]", path_, base_.out_features()));
  if (matrices.a0.defined() && (matrices.a0.sizes() != a.sizes() || matrices.b0.sizes() != b.sizes()))
    throw InternalError(fmt::format("{}: an adapter and its beginning have other shapes", path_));
  unmerge();
  for (const auto& [name, tensor] : children(matrices))
    add_module(module_, child(name, adapter), factor_module(tensor));
  adapters_.push_back({adapter, std::move(matrices)});
}

void LinearSlotImpl::detach(const std::string& adapter) {
  if (!adapted(adapter)) return;
  unmerge();
  for (const auto& [name, tensor] : children(lora(adapter))) remove_module(module_, child(name, adapter));
  std::erase_if(adapters_, [&](const Attached& one) { return one.name == adapter; });
}

void LinearSlotImpl::merge() {
  if (!enabled() || merged()) return;
  const LoraMatrices* lora = nullptr;
  for (const Attached& one : adapters_) {
    if (!one.enabled) continue;
    if (lora != nullptr)
      throw ConfigError(fmt::format("{} has several adapters enabled; disable all but the one to be merged", path_));
    lora = &one.matrices;
  }
  const at::NoGradGuard no_grad;
  const std::int64_t out = base_.out_features(), in = base_.in_features(), block = rows_per_block(in);
  at::Tensor sum = kernels::aten::empty({out, in}, at::TensorOptions(base_.dtype()).device(base_.device()));
  for (std::int64_t begin = 0; begin < out; begin += block) {
    const std::int64_t end = std::min(begin + block, out);
    sum.slice(0, begin, end).copy_(merged_rows(base_.rows(begin, end - begin, base_.dtype()), *lora, begin, end));
  }
  merged_ = kernels::BaseWeight::dense(sum, current().bias());
}

void LinearSlotImpl::unmerge() { merged_ = kernels::BaseWeight(); }

at::Tensor LinearSlotImpl::delta_weight(const std::string& adapter) const {
  return delta_rows(lora(adapter), 0, base_.out_features());
}

}  // namespace lowrank::lora
