// The token embedding of a model: its Hugging Face path, its frozen weight, and the adapters that are attached to it.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "lowrank/lora/linear_slot.h"
#include "lowrank/lora/whole_module.h"

namespace lowrank::lora {

/// rows[i] = E[id_i] + Σ s·(B A)[:, id_i], PEFT's lora.Embedding: A [r, V] begins as zeros and B [d, r] is normal, so
/// the roles are the reverse of a linear layer's. No dropout acts on it, as in PEFT.
class EmbeddingSlotImpl {
 public:
  /// The weight [V, d] is used where it lies.
  EmbeddingSlotImpl(std::string path, kernels::BaseWeight base, StoredWeight stored = {});

  const std::string& path() const { return whole_->path(); }  // "model.embed_tokens"
  const kernels::BaseWeight& base() const { return base_; }
  /// The tensor of the model's files that it is.
  const StoredWeight& stored() const { return whole_->stored(); }
  /// The weight (where it is dense) as a module that an adapter may keep a trained copy of.
  const WholeModule& whole() const { return whole_; }

  /// ids int64 [T], each in [0, V) -> [T, d] in `dtype`; the sum in fp32, rounded once. Differentiable in A and B, and
  /// in the weight where it requires grad.
  at::Tensor forward(const at::Tensor& ids, at::ScalarType dtype) const;
  /// Whether something of it is trained now, so that what it gives carries a gradient.
  bool trains() const;

  bool adapted(const std::string& adapter = kDefaultAdapter) const { return adapters_.has(adapter); }
  /// A [r, V] and B [d, r]. InternalError where no adapter has this name.
  const LoraMatrices& lora(const std::string& adapter = kDefaultAdapter) const {
    return adapters_.at(adapter, path()).matrices;
  }
  LoraMatrices& lora(const std::string& adapter = kDefaultAdapter) { return adapters_.at(adapter, path()).matrices; }
  /// Whether an adapter's A and B act on forward().
  bool enabled() const { return adapters_.any_enabled(); }
  /// With a magnitude [d] it is DoRA: rows (m/n)∘(E[id] + s·(B A)[:, id]), n the norms of E + ΔE by column.
  void attach(LoraMatrices matrices, const std::string& adapter = kDefaultAdapter);
  /// Rows of E in the place of its own. ConfigError when the adapter has such here already, or A and B.
  void attach_rows(TokenRows rows, const std::string& adapter = kDefaultAdapter);
  const TokenRowsList& rows() const { return rows_; }
  void detach(const std::string& adapter = kDefaultAdapter) {
    adapters_.remove(adapter);
    rows_.remove(adapter);
  }
  void set_enabled(bool enabled, const std::string& adapter = kDefaultAdapter) {
    adapters_.set_enabled(enabled, adapter);
    rows_.set_enabled(enabled, adapter);
  }

 private:
  kernels::BaseWeight current() const;

  kernels::BaseWeight base_;
  WholeModule whole_;
  struct Adapted {
    LoraMatrices matrices;
    RowNorms norms = {};
  };
  mutable AdapterList<Adapted> adapters_;  // norms are kept by forward()
  TokenRowsList rows_;
};
using EmbeddingSlot = std::shared_ptr<EmbeddingSlotImpl>;

/// Eᵀ [d, V] where it lies: for DoRA an embedding is the layer of this weight.
kernels::BaseWeight by_columns(const kernels::BaseWeight& base, const WholeModule& whole);

}  // namespace lowrank::lora
