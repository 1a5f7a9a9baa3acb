// The token embedding of a model: its Hugging Face path, its frozen weight, and the adapters that are attached to it.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

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

  bool adapted(const std::string& adapter = kDefaultAdapter) const;
  /// A [r, V] and B [d, r]. InternalError where no adapter has this name.
  const LoraMatrices& lora(const std::string& adapter = kDefaultAdapter) const;
  LoraMatrices& lora(const std::string& adapter = kDefaultAdapter);
  /// Whether an adapter's A and B act on forward().
  bool enabled() const;
  void attach(LoraMatrices matrices, const std::string& adapter = kDefaultAdapter);
  void detach(const std::string& adapter = kDefaultAdapter);
  void set_enabled(bool enabled, const std::string& adapter = kDefaultAdapter);

 private:
  struct Attached {
    std::string name;
    LoraMatrices matrices;
    bool enabled = true;
  };
  const Attached* find(const std::string& adapter) const;

  kernels::BaseWeight current() const;

  kernels::BaseWeight base_;
  WholeModule whole_;
  std::vector<Attached> adapters_;
};
using EmbeddingSlot = std::shared_ptr<EmbeddingSlotImpl>;

/// An embedding's matrices as those of a layer of weight [V, d]: A' = Bᵀ [r, d] and B' = Aᵀ [V, r] (views), so that ΔE
/// = s·B' A'.
LoraMatrices by_rows(const LoraMatrices& embedding);

}  // namespace lowrank::lora
