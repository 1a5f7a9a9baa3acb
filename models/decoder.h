// The one decoder: pre-norm blocks of attention and a gated MLP over flat token streams.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/kernels/dropout.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/segments.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/lora/layer_modules.h"
#include "lowrank/models/config.h"
#include "lowrank/models/kv_cache.h"

namespace lowrank::models {

/// Where the weights of a decoder come from: mapped files, a random start, or tensors of a test.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  /// The tensor of this Hugging Face name with this shape; ModelError naming it otherwise. Weights of linear layers and
  /// the embedding may keep the file's dtype (they are converted as they are used). Tensors that require grad are
  /// trained.
  virtual at::Tensor take(const std::string& name, const std::vector<std::int64_t>& shape) = 0;
  /// The run's dtype: of the residual stream and the outputs of linear layers.
  virtual at::ScalarType dtype() const { return at::kFloat; }
};

struct ForwardOptions {
  const kernels::DropoutContext* dropout = nullptr;  // null: evaluation; must outlive the backward pass
  KvCache* cache = nullptr;
  bool recompute = false;  // activation checkpointing, a layer at a time
  double neftune = 0;      // α of kernels::neftune_noise on the embeddings; needs `dropout`'s place
};

/// The decoder must outlive the backward pass of what it computed.
class DecoderImpl {
 public:
  DecoderImpl(DecoderConfig config, WeightSource& weights);

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
  /// All linear layers in file order, the embedding and the norms, for lora::attach.
  lora::SlotTable slot_table() const;
  /// Every weight with its Hugging Face name, each once (a tied head is the embedding); for --method full and saving.
  std::vector<lora::NamedTensor> named_weights() const;
  /// Its linear layers as LibTorch's modules (see LinearSlotImpl::module), named by path with '_' for '.'.
  const lora::ModulePtr& module() const { return module_; }
  /// Tells the slots and the tied head that weights were moved with set_data.
  void rebind();
  std::string base_name;  // path or ORG/NAME the model was loaded from

 private:
  struct Layer;
  std::shared_ptr<Layer> make_layer(std::int64_t index, WeightSource& weights);
  lora::LinearSlot make_slot(const std::string& path, std::int64_t in, std::int64_t out, bool bias,
                             WeightSource& weights);
  lora::WholeModule make_norm(const std::string& path, std::int64_t width, WeightSource& weights);
  /// The norms, in file order.
  std::vector<lora::WholeModule> norms() const;
  at::Tensor normed(const at::Tensor& x, const lora::WholeModule& norm) const;
  /// The first layer with something to train; layers() when there is none.
  std::int64_t first_trained_layer() const;
  at::Tensor embed(const at::Tensor& ids) const;
  at::Tensor layer_forward(Layer& layer, std::int64_t index, const at::Tensor& x, const kernels::Segments& segments,
                           const kernels::RotaryTables& tables, const ForwardOptions& options);

  lora::ModulePtr module_;
  DecoderConfig config_;
  at::ScalarType dtype_;
  std::vector<float> frequencies_;  // of the rotary embedding
  lora::EmbeddingSlot embed_;
  lora::WholeModule norm_;
  std::vector<std::shared_ptr<Layer>> layers_;
  lora::LinearSlot head_{nullptr};
};
using Decoder = std::shared_ptr<DecoderImpl>;

}  // namespace lowrank::models
