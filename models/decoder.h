// The one decoder: the blocks that a family describes, over flat token streams.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/kernels/dropout.h"
#include "lowrank/kernels/router_balance.h"
#include "lowrank/kernels/segments.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/lora/layer_modules.h"
#include "lowrank/models/config.h"
#include "lowrank/models/kv_cache.h"
#include "lowrank/models/recompute.h"
#include "lowrank/models/weight_source.h"

namespace lowrank::models {

struct LayerPass;

struct ForwardOptions {
  const kernels::DropoutContext* dropout = nullptr;  // null: evaluation; must outlive the backward pass
  KvCache* cache = nullptr;
  Recompute recompute = false;                                // activation checkpointing, a layer at a time
  std::shared_ptr<kernels::RouterBalance> balance = nullptr;  // that of this pass's routers; closed at its end
  double neftune = 0;  // α of kernels::neftune_noise on the embeddings; needs `dropout`'s place
};

/// The decoder must outlive the backward pass of what it computed.
class DecoderImpl {
 public:
  DecoderImpl(DecoderConfig config, WeightSource& weights);
  ~DecoderImpl();
  DecoderImpl(const DecoderImpl&) = delete;
  DecoderImpl& operator=(const DecoderImpl&) = delete;

  /// ids int64 [T] -> hidden states after the final norm [T, d]. ModelError for an id outside the vocabulary. Nothing
  /// is kept for a backward pass below the first layer that is adapted or trained.
  at::Tensor hidden(const at::Tensor& ids, const kernels::Segments& segments, const ForwardOptions& options = {});
  /// hidden [T, d] -> logits [T, V] fp32 (through the head's adapter too).
  at::Tensor logits(const at::Tensor& hidden);
  /// Per-token cross-entropy [T] fp32, 0 where labels are -100; logits are never whole in memory.
  /// `dropout` concerns an adapter on the head only; `label_smoothing` as kernels::smoothed_cross_entropy has it.
  at::Tensor token_losses(const at::Tensor& hidden, const at::Tensor& labels,
                          const kernels::DropoutContext* dropout = nullptr, double label_smoothing = 0);

  const DecoderConfig& config() const { return config_; }
  at::ScalarType dtype() const { return dtype_; }
  /// Where its weights are, and so what it computes.
  at::Device device() const;
  /// All linear layers in file order, the embedding and the norms, for lora::attach.
  lora::SlotTable slot_table() const;
  /// Every weight with its Hugging Face name, each once (a tied head is the embedding); for --method full and saving.
  std::vector<lora::NamedTensor> named_weights() const;
  /// Values that the backward pass of a training step keeps of a token in each layer, about: 0 where the layer has no
  /// gradient.
  std::vector<std::int64_t> kept_by_layer() const;
  /// Its linear layers as LibTorch's modules (see LinearSlotImpl::module), named by path with '_' for '.'.
  const lora::ModulePtr& module() const { return module_; }
  /// Tells the slots and the tied head that weights were moved with set_data.
  void rebind();
  std::string base_name;            // absolute path or ORG/NAME the model was loaded from
  std::int64_t file_rows = 0;       // lora::SlotTable's
  std::vector<std::string> beside;  // tensors in its files that are no part of it (a picture's encoder)

 private:
  struct Parts;
  /// What layer i makes of x and what is carried, to be computed again in the backward pass; `keep`: what `pass` refers
  /// to.
  at::Tensor recomputed(std::size_t i, const std::shared_ptr<const void>& keep, const LayerPass& pass,
                        const at::Tensor& x);
  /// Says to the activated adapters on which tokens of a pass they act.
  void activate(const std::vector<std::int64_t>& ids, const kernels::Segments& segments, const KvCache* cache);
  /// The first layer with something to train; the number of layers when there is none.
  std::size_t first_trained_layer() const;

  lora::ModulePtr module_;
  DecoderConfig config_;
  at::ScalarType dtype_;
  std::unique_ptr<Parts> parts_;
  std::shared_ptr<lora::Activations> activations_ = std::make_shared<lora::Activations>();
};
using Decoder = std::shared_ptr<DecoderImpl>;

}  // namespace lowrank::models
