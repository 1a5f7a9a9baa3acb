#include "lowrank/lora/embedding_slot.h"

#include <fmt/format.h>

#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"

namespace lowrank::lora {

kernels::BaseWeight by_columns(const kernels::BaseWeight& base, const WholeModule& whole) {
  if (whole->base().empty())
    throw ConfigError(fmt::format("DoRA on {} needs its weight as it is, and this one is packed or shared out over ranks", whole->path()));
  return kernels::BaseWeight::dense(whole->base().front().tensor.detach(), {}, {.transposed = !base.transposed()});
}

EmbeddingSlotImpl::EmbeddingSlotImpl(std::string path, kernels::BaseWeight base, StoredWeight stored)
    : base_(std::move(base)),
      whole_(std::make_shared<WholeModuleImpl>(std::move(path), own_tensors(base_), std::move(stored))) {}

kernels::BaseWeight EmbeddingSlotImpl::current() const {
  if (!whole_->enabled()) return base_;
  return kernels::BaseWeight::dense(whole_->current("weight"), {}, {.transposed = base_.transposed()});
}

at::Tensor EmbeddingSlotImpl::forward(const at::Tensor& ids, at::ScalarType dtype) const {
  at::Tensor rows = current().rows_at(ids);
  for (auto& one : adapters_) {
    if (!one.enabled) continue;
    const LoraMatrices& lora = one.value.matrices;
    // The thin product through the kernel of the linear layers, whose gradients do not depend on the number of threads.
    const at::Tensor inner = kernels::aten::embedding(lora.a.t(), ids);
    const at::Tensor delta = kernels::lora_linear(inner, kernels::BaseWeight::dense(lora.b), {}, nullptr);
    rows = rows.to(delta.scalar_type()).add(delta, lora.scale);
    if (!lora.magnitude.defined()) continue;
    const at::Tensor norms = one.value.norms.of(by_columns(base_, whole_), lora.a, lora.b, lora.scale);
    rows = rows.mul(lora.magnitude.div(norms));
  }
  rows = with_token_rows(rows, ids, rows_);
  return rows.scalar_type() == dtype ? rows : rows.to(dtype);
}

bool EmbeddingSlotImpl::trains() const { return enabled() || rows_.any_enabled() || current().trains(); }

void EmbeddingSlotImpl::attach(LoraMatrices matrices, const std::string& adapter) {
  adapters_.require_free(adapter, path());
  rows_.require_free(adapter, path());
  const std::int64_t vocabulary = base_.out_features(), width = base_.in_features();
  if (matrices.a.sizes() != at::IntArrayRef{matrices.r, vocabulary} ||
      matrices.b.sizes() != at::IntArrayRef{width, matrices.r})
    throw ModelError(fmt::format("{}: lora_embedding_A must be [{}, {}] and lora_embedding_B [{}, {}]", path(),
                                 matrices.r, vocabulary, width, matrices.r));
  if (matrices.magnitude.defined() && matrices.magnitude.sizes() != at::IntArrayRef{width})
    throw ModelError(fmt::format("{}: lora_magnitude_vector must be [{}]", path(), width));
  adapters_.add(adapter, path(), {std::move(matrices)});
}

void EmbeddingSlotImpl::attach_rows(TokenRows rows, const std::string& adapter) {
  adapters_.require_free(adapter, path());
  rows_.add(adapter, path(), std::move(rows));
}

}  // namespace lowrank::lora
