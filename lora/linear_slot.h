// A linear layer of a model: its Hugging Face path, its frozen weight, and the adapters that are attached to it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "lowrank/kernels/lora_group.h"
#include "lowrank/kernels/lora_linear.h"
#include "lowrank/lora/active_tokens.h"
#include "lowrank/lora/adapter_list.h"
#include "lowrank/lora/layer_modules.h"
#include "lowrank/lora/row_norms.h"
#include "lowrank/lora/token_rows.h"
#include "lowrank/lora/whole_module.h"

namespace lowrank::lora {

/// One adapter's matrices at one linear layer: A [r, in], B [out, r], fp32 leaves.
struct LoraMatrices {
  at::Tensor a, b;
  std::int64_t r = 0;
  double scale = 1;
  double dropout = 0;
  at::Tensor magnitude = {};  // DoRA's m [out], an fp32 leaf; undefined: plain LoRA
  /// PiSSA's and OLoRA's beginning A0 [r, in] and B0 [out, r]: constants whose s·B0 A0 is taken off the base, so that
  /// the layer begins as it was, without a change to the base's weight. Undefined: none.
  at::Tensor a0 = {}, b0 = {};
  std::shared_ptr<const ActiveTokens> active = {};  // the tokens that it acts on; null: all
  at::Tensor bias = {};  // PEFT's lora_bias, beside B [out], an fp32 leaf, added times `scale`; undefined: none
};

/// The same change without a beginning: A' = [A; A0], B' = [B, −B0], r' = 2r at the same scale (PEFT's conversion of
/// PiSSA and OLoRA to plain LoRA). What has no beginning is given as it is.
LoraMatrices plain(const LoraMatrices& lora);

/// An embedding's matrices (A [r, V], B [d, r]) as those of a layer of weight [V, d]: A' = Bᵀ [r, d] and B' = Aᵀ [V, r]
/// (views), so that ΔE = s·B' A'.
LoraMatrices by_rows(const LoraMatrices& embedding);

/// y = x Wᵀ + b + Σ s·drop(x) Aᵀ Bᵀ over a base weight; the sum is over the adapters that are enabled, each known by a
/// name (an adapter with a magnitude or a beginning: kernels::LoraOperand, LoraMatrices).
class LinearSlotImpl {
 public:
  /// The base is used where it lies: mapped and frozen, or the very tensors that --method full trains.
  LinearSlotImpl(std::string path, kernels::BaseWeight base, StoredWeight stored = {});

  /// x [T, in] -> [T, out]. ConfigError when a merged slot is asked for a training pass (dropout given, or x in a
  /// graph): A and B would get no gradient.
  at::Tensor forward(const at::Tensor& x, const kernels::DropoutContext* dropout = nullptr);
  /// What forward() multiplies x with.
  kernels::LoraLayer layer(const at::Tensor& x, const kernels::DropoutContext* dropout);
  /// What layer()'s product does not say: an activated adapter's share on its tokens, and rows of W of an adapter's own.
  at::Tensor finished(const at::Tensor& y, const at::Tensor& x, const kernels::DropoutContext* dropout) const;

  const std::string& path() const { return path_; }  // "model.layers.0.self_attn.q_proj"
  const kernels::BaseWeight& base() const { return base_; }
  /// The tensors of the model's files that it is.
  const StoredWeight& stored() const { return whole_->stored(); }
  /// Weight (where it is dense) and bias as a module of which an adapter may keep trained copies (a bias beside A and B
  /// too); its base() holds the very tensors that --method full trains.
  const WholeModule& whole() const { return whole_; }
  /// What forward() begins with: weight and bias, or an enabled adapter's copies of them.
  kernels::BaseWeight current() const;
  /// The layer as LibTorch's modules, children named as PEFT names them: base_layer (a torch::nn::Linear) where the
  /// base is dense and not transposed, and with an adapter lora_A and lora_B, whose "weight" are the tensors of lora().
  const ModulePtr& module() const { return module_; }

  bool adapted() const { return !adapters_.empty(); }
  bool adapted(const std::string& adapter) const { return adapters_.has(adapter); }
  /// InternalError where no adapter has this name.
  const LoraMatrices& lora(const std::string& adapter = kDefaultAdapter) const {
    return adapters_.at(adapter, path_).matrices;
  }
  LoraMatrices& lora(const std::string& adapter = kDefaultAdapter) { return adapters_.at(adapter, path_).matrices; }
  /// Enabled from the start. ModelError when the shapes do not fit, ConfigError when the slot has one of this name.
  void attach(LoraMatrices matrices, const std::string& adapter = kDefaultAdapter);
  /// The matrices of the embedding that this head is tied to, as they are there: by_rows() of them act here.
  void attach_tied(LoraMatrices embedding, const std::string& adapter = kDefaultAdapter);
  /// Rows of W in the place of its own. Enabled from the start. ConfigError when the adapter has such here already, or
  /// A and B.
  void attach_rows(TokenRows rows, const std::string& adapter = kDefaultAdapter);
  const TokenRowsList& rows() const { return rows_; }
  /// Without it again, merged or not.
  void detach(const std::string& adapter = kDefaultAdapter);
  /// Off: as if it were not there. Nothing where no adapter has this name.
  void set_enabled(bool enabled, const std::string& adapter = kDefaultAdapter) {
    adapters_.set_enabled(enabled, adapter);
    rows_.set_enabled(enabled, adapter);
  }
  /// Whether an adapter's A and B act on forward().
  bool enabled() const { return adapters_.any_enabled(); }
  /// Whether forward() is that of current() alone: no A and B, no rows, nothing merged.
  bool bare() const { return !enabled() && !rows_.any_enabled() && !merged(); }
  /// Whether something of it is trained now, so that what it gives carries a gradient.
  bool trains() const;
  bool merged() const { return merged_.defined(); }
  /// Values that its adapters keep of a token for the backward pass: x Aᵀ, and DoRA's product.
  std::int64_t kept_per_token() const;
  /// Those of them that are x Aᵀ, which are fp32 beside activations in bf16 too.
  std::int64_t thin_per_token() const;

  /// W' = round(W + s B A), or round((m/n)∘(W + s B A)) with a magnitude, in a copy, rounded once; forward then uses W'
  /// alone. unmerge drops the copy: the exact bytes are back. Both do nothing when there is nothing to do. merge()
  /// takes the one adapter that is enabled; ConfigError when several are.
  void merge();
  void unmerge();
  /// s·B A, or s·(B A − B0 A0), in fp32 [out, in].
  at::Tensor delta_weight(const std::string& adapter = kDefaultAdapter) const;
  /// The base's values are others (set_data by a flat-parameter owner, say): a merge and DoRA's norms are dropped.
  void rebind();

 private:
  struct Adapted {
    LoraMatrices matrices;
    bool tied = false;  // they are an embedding's
    RowNorms norms = {};
    LoraMatrices now() const;
  };

  std::string path_;
  ModulePtr module_;
  kernels::BaseWeight base_;
  WholeModule whole_;
  AdapterList<Adapted> adapters_;
  TokenRowsList rows_;
  kernels::BaseWeight merged_;
};
using LinearSlot = std::shared_ptr<LinearSlotImpl>;  // shared by a model and the adapters attached to it

/// forward() of layers that read one x: kernels::lora_linears.
std::vector<at::Tensor> forward_together(const std::vector<LinearSlot>& slots, const at::Tensor& x,
                                         const kernels::DropoutContext* dropout = nullptr);

}  // namespace lowrank::lora
