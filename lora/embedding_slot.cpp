#include "lowrank/lora/embedding_slot.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"

namespace lowrank::lora {

LoraMatrices by_rows(const LoraMatrices& embedding) {
  LoraMatrices result = embedding;
  result.a = embedding.b.t();
  result.b = embedding.a.t();
  return result;
}

EmbeddingSlotImpl::EmbeddingSlotImpl(std::string path, kernels::BaseWeight base, StoredWeight stored)
    : base_(std::move(base)),
      whole_(std::make_shared<WholeModuleImpl>(std::move(path), own_tensors(base_), std::move(stored))) {}

kernels::BaseWeight EmbeddingSlotImpl::current() const {
  if (!whole_->enabled()) return base_;
  return kernels::BaseWeight::dense(whole_->current("weight"), {}, {.transposed = base_.transposed()});
}

const EmbeddingSlotImpl::Attached* EmbeddingSlotImpl::find(const std::string& adapter) const {
  const auto found =
      std::find_if(adapters_.begin(), adapters_.end(), [&](const Attached& one) { return one.name == adapter; });
  return found == adapters_.end() ? nullptr : &*found;
}

at::Tensor EmbeddingSlotImpl::forward(const at::Tensor& ids, at::ScalarType dtype) const {
  at::Tensor rows = current().rows_at(ids);
  for (const Attached& one : adapters_) {
    if (!one.enabled) continue;
    const LoraMatrices& lora = one.matrices;
    // The thin product through the kernel of the linear layers, whose gradients do not depend on the number of threads.
    const at::Tensor inner = kernels::aten::embedding(lora.a.t(), ids);
    const at::Tensor delta = kernels::lora_linear(inner, kernels::BaseWeight::dense(lora.b), {}, nullptr);
    rows = rows.to(delta.scalar_type()).add(delta, lora.scale);
  }
  return rows.scalar_type() == dtype ? rows : rows.to(dtype);
}

bool EmbeddingSlotImpl::enabled() const {
  return std::any_of(adapters_.begin(), adapters_.end(), [](const Attached& one) { return one.enabled; });
}

bool EmbeddingSlotImpl::trains() const { return enabled() || current().trains(); }

bool EmbeddingSlotImpl::adapted(const std::string& adapter) const { return find(adapter) != nullptr; }

const LoraMatrices& EmbeddingSlotImpl::lora(const std::string& adapter) const {
  const Attached* const found = find(adapter);
  if (found == nullptr) throw InternalError(fmt::format("{} has no adapter '{}'", path(), adapter));
  return found->matrices;
}

LoraMatrices& EmbeddingSlotImpl::lora(const std::string& adapter) {
  return const_cast<LoraMatrices&>(std::as_const(*this).lora(adapter));
}

void EmbeddingSlotImpl::attach(LoraMatrices matrices, const std::string& adapter) {
  if (adapted(adapter))
    throw ConfigError(fmt::format("{} already carries the adapter '{}'; detach it, or give the new one another name",
                                  path(), adapter));
  const std::int64_t vocabulary = base_.out_features(), width = base_.in_features();
  if (matrices.a.sizes() != at::IntArrayRef{matrices.r, vocabulary} ||
      matrices.b.sizes() != at::IntArrayRef{width, matrices.r})
    throw ModelError(fmt::format("{}: lora_embedding_A must be [{}, {}] and lora_embedding_B [{}, {}]", path(),
                                 matrices.r, vocabulary, width, matrices.r));
  adapters_.push_back({adapter, std::move(matrices)});
}

void EmbeddingSlotImpl::detach(const std::string& adapter) {
  std::erase_if(adapters_, [&](const Attached& one) { return one.name == adapter; });
}

void EmbeddingSlotImpl::set_enabled(bool enabled, const std::string& adapter) {
  for (Attached& one : adapters_)
    if (one.name == adapter) one.enabled = enabled;
}

}  // namespace lowrank::lora
