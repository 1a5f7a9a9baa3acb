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

// s·drop(x) Aᵀ Bᵀ on the tokens that are active, [T, out] in fp32.
at::Tensor on_active(const LoraMatrices& lora, const at::Tensor& x, const std::string& stream,
                     const kernels::DropoutContext* dropout) {
  if (!lora.active->mask.defined() || lora.active->mask.size(0) != x.size(0))
    throw InternalError("an activated adapter ran without being told on which tokens");
  at::Tensor input = x.to(lora.a.scalar_type()).mul(lora.active->mask);
  if (dropout != nullptr && lora.dropout > 0) {
    const auto key = core::RandomStream(dropout->seed, "dropout:" + stream).key();
    input = input.mul(kernels::apply_dropout(x.new_ones(x.sizes()).to(lora.a.scalar_type()), lora.dropout, key,
                                             dropout->step, dropout->token_in_step));
  }
  const at::Tensor low = kernels::lora_linear(input, kernels::BaseWeight::dense(lora.a), {}, nullptr);
  return kernels::lora_linear(low, kernels::BaseWeight::dense(lora.b), {}, nullptr).mul(lora.scale);
}

// What an adapter is made of: the modules' names, and their tensors.
std::vector<std::pair<const char*, at::Tensor>> children(const LoraMatrices& lora) {
  std::vector<std::pair<const char*, at::Tensor>> result = {{"lora_A", lora.a}, {"lora_B", lora.b}};
  if (lora.magnitude.defined()) result.emplace_back("lora_magnitude_vector", lora.magnitude);
  if (lora.bias.defined()) result.emplace_back("lora_B_bias", lora.bias);
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

LoraMatrices by_rows(const LoraMatrices& embedding) {
  LoraMatrices result = embedding;
  result.a = embedding.b.t();
  result.b = embedding.a.t();
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
  if ((enabled() && !merged()) || rows_.any_enabled()) return true;
  const kernels::BaseWeight now = current();
  return now.trains() || (now.bias().defined() && now.bias().requires_grad());
}

LoraMatrices LinearSlotImpl::Adapted::now() const {
  if (!tied) return matrices;
  LoraMatrices here = by_rows(matrices);
  here.a = here.a.contiguous();
  here.b = here.b.contiguous();
  return here;
}

std::int64_t LinearSlotImpl::kept_per_token() const {
  std::int64_t values = thin_per_token();
  for (const auto& one : adapters_)
    if (one.enabled && one.value.matrices.magnitude.defined()) values += base_.out_features();
  return values;
}

std::int64_t LinearSlotImpl::thin_per_token() const {
  std::int64_t values = 0;
  for (const auto& one : adapters_)
    if (one.enabled) values += (one.value.matrices.a0.defined() ? 2 : 1) * one.value.matrices.r;
  return values;
}

void LinearSlotImpl::rebind() {
  for (auto& one : adapters_) one.value.norms.forget();
  unmerge();
}

at::Tensor LinearSlotImpl::forward(const at::Tensor& x, const kernels::DropoutContext* dropout) {
  const kernels::LoraLayer now = layer(x, dropout);
  return finished(kernels::lora_linear(x, now.base, now.adapters, dropout), x, dropout);
}

at::Tensor LinearSlotImpl::finished(const at::Tensor& y, const at::Tensor& x,
                                    const kernels::DropoutContext* dropout) const {
  at::Tensor result = y;
  for (const auto& one : adapters_) {
    if (!one.enabled || one.value.matrices.active == nullptr) continue;
    const std::string stream = one.name == kDefaultAdapter ? path_ : one.name + ":" + path_;
    const at::Tensor delta = on_active(one.value.matrices, x, stream, dropout);
    result = result.to(delta.scalar_type()).add(delta).to(y.scalar_type());
  }
  return rows_.any_enabled() ? with_token_columns(result, x, current().bias(), rows_) : result;
}

std::vector<at::Tensor> forward_together(const std::vector<LinearSlot>& slots, const at::Tensor& x,
                                         const kernels::DropoutContext* dropout) {
  std::vector<kernels::LoraLayer> layers;
  for (const LinearSlot& slot : slots) layers.push_back(slot->layer(x, dropout));
  std::vector<at::Tensor> results = kernels::lora_linears(x, layers, dropout);
  for (std::size_t i = 0; i < slots.size(); ++i) results[i] = slots[i]->finished(results[i], x, dropout);
  return results;
}

kernels::LoraLayer LinearSlotImpl::layer(const at::Tensor& x, const kernels::DropoutContext* dropout) {
  const kernels::BaseWeight base = current();
  if (!enabled()) return {base, {}};
  if (!base.same(base_))
    throw ConfigError(fmt::format(
        "one adapter brings a weight of its own for {}, and another changes the base's; enable one at a time", path_));
  if (merged()) {
    if (dropout != nullptr || (at::GradMode::is_enabled() && x.requires_grad()))
      throw ConfigError(
          fmt::format("{} is merged, and its adapter cannot be trained like that; call unmerge() first", path_));
    return {merged_, {}};
  }
  std::vector<kernels::LoraOperand> operands;
  at::Tensor bias = base.bias();
  for (auto& one : adapters_) {
    if (!one.enabled) continue;
    const LoraMatrices lora = one.value.now();
    if (lora.active != nullptr) continue;  // finished()
    if (lora.a0.defined()) operands.push_back(kernels::LoraOperand{lora.a0, lora.b0, -lora.scale, 0, {}});
    kernels::LoraOperand& operand =
        operands.emplace_back(kernels::LoraOperand{lora.a, lora.b, lora.scale, lora.dropout, {}});
    if (lora.magnitude.defined()) {
      operand.magnitude = lora.magnitude;
      operand.norms = one.value.norms.of(base_, lora.a, lora.b, lora.scale);
    }
    if (lora.bias.defined()) {
      const at::Tensor own = lora.bias.mul(lora.scale);
      bias = (bias.defined() ? bias.to(own.scalar_type()).add(own) : own).to(x.scalar_type());
    }
    if (dropout == nullptr || lora.dropout == 0) continue;
    const std::string stream = one.name == kDefaultAdapter ? path_ : one.name + ":" + path_;
    operand.dropout_key = core::RandomStream(dropout->seed, "dropout:" + stream).key();
  }
  return {base.with_bias(bias), std::move(operands)};
}

void LinearSlotImpl::attach(LoraMatrices matrices, const std::string& adapter) {
  adapters_.require_free(adapter, path_);
  const auto& a = matrices.a;
  const auto& b = matrices.b;
  if (a.dim() != 2 || b.dim() != 2 || a.size(0) != matrices.r || b.size(1) != matrices.r ||
      a.size(1) != base_.in_features() || b.size(0) != base_.out_features())
    throw ModelError(fmt::format("{}: lora_A must be [{}, {}] and lora_B [{}, {}]", path_, matrices.r,
                                 base_.in_features(), base_.out_features(), matrices.r));
  if (matrices.magnitude.defined() && matrices.magnitude.sizes() != at::IntArrayRef{base_.out_features()})
    throw ModelError(fmt::format("{}: lora_magnitude_vector must be [{}]", path_, base_.out_features()));
  if (matrices.bias.defined() && matrices.bias.sizes() != at::IntArrayRef{base_.out_features()})
    throw ModelError(fmt::format("{}: the bias of lora_B must be [{}]", path_, base_.out_features()));
  if (matrices.a0.defined() && (matrices.a0.sizes() != a.sizes() || matrices.b0.sizes() != b.sizes()))
    throw InternalError(fmt::format("{}: an adapter and its beginning have other shapes", path_));
  unmerge();
  for (const auto& [name, tensor] : children(matrices))
    add_module(module_, child(name, adapter), factor_module(tensor));
  adapters_.add(adapter, path_, {std::move(matrices)});
}

void LinearSlotImpl::attach_tied(LoraMatrices embedding, const std::string& adapter) {
  const LoraMatrices here = by_rows(embedding);
  if (here.a.size(1) != base_.in_features() || here.b.size(0) != base_.out_features())
    throw ModelError(fmt::format("{}: the embedding's adapter does not fit the head that is tied to it", path_));
  unmerge();
  adapters_.add(adapter, path_, {std::move(embedding), /*tied=*/true});
}

void LinearSlotImpl::attach_rows(TokenRows rows, const std::string& adapter) {
  adapters_.require_free(adapter, path_);
  rows_.add(adapter, path_, std::move(rows));
}

void LinearSlotImpl::detach(const std::string& adapter) {
  rows_.remove(adapter);
  if (!adapted(adapter)) return;
  unmerge();
  if (std::any_of(adapters_.begin(), adapters_.end(),
                  [&](const auto& one) { return one.name == adapter && one.value.tied; }))
    return adapters_.remove(adapter);
  for (const auto& [name, tensor] : children(lora(adapter))) remove_module(module_, child(name, adapter));
  adapters_.remove(adapter);
}

void LinearSlotImpl::merge() {
  if (!enabled() || merged()) return;
  const LoraMatrices lora = adapters_.the_enabled(path_)->now();
  if (lora.active != nullptr)
    throw ConfigError(fmt::format("{} has an activated LoRA, which acts on some tokens alone and cannot be merged", path_));
  const at::NoGradGuard no_grad;
  const std::int64_t out = base_.out_features(), in = base_.in_features(), block = rows_per_block(in);
  at::Tensor sum = kernels::aten::empty({out, in}, at::TensorOptions(base_.dtype()).device(base_.device()));
  for (std::int64_t begin = 0; begin < out; begin += block) {
    const std::int64_t end = std::min(begin + block, out);
    sum.slice(0, begin, end).copy_(merged_rows(base_.rows(begin, end - begin, base_.dtype()), lora, begin, end));
  }
  at::Tensor bias = current().bias();
  if (lora.bias.defined()) {
    const at::Tensor own = lora.bias.detach().mul(lora.scale);
    bias = (bias.defined() ? bias.to(own.scalar_type()).add(own) : own).to(base_.dtype());
  }
  merged_ = kernels::BaseWeight::dense(sum, bias);
}

void LinearSlotImpl::unmerge() { merged_ = kernels::BaseWeight(); }

at::Tensor LinearSlotImpl::delta_weight(const std::string& adapter) const {
  return delta_rows(lora(adapter), 0, base_.out_features());
}

}  // namespace lowrank::lora
