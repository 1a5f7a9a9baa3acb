// A linear layer of a model: its Hugging Face path, its frozen weight, and the adapters that are attached to it.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/kernels/lora_linear.h"

namespace lowrank::lora {

/// One adapter's matrices at one linear layer: A [r, in], B [out, r], fp32 leaves.
struct LoraMatrices {
  at::Tensor a, b;
  std::int64_t r = 0;
  double scale = 1;
  double dropout = 0;
};

/// One factor of an adapter as a module, so that its tensor's name ends in ".weight" as PEFT's does.
class LoraFactorImpl : public torch::nn::Module {
 public:
  explicit LoraFactorImpl(at::Tensor weight);
  void pretty_print(std::ostream& stream) const override;

 private:
  at::Tensor weight_;
};
TORCH_MODULE(LoraFactor);

/// y = x Wᵀ + b + Σ s·drop(x) Aᵀ Bᵀ. `base_layer` is a torch::nn::Linear over the mapped weight. Children are
/// registered as PEFT names them: base_layer.weight, lora_A.weight, lora_B.weight (the tensors of lora() themselves).
class LinearSlotImpl : public torch::nn::Module {
 public:
  /// weight [out, in], bias [out] or undefined; neither is copied, both are frozen.
  LinearSlotImpl(std::string path, at::Tensor weight, at::Tensor bias);

  /// x [T, in] -> [T, out]. ConfigError when a merged slot is asked for a training pass (dropout given, or x in a
  /// graph): A and B would get no gradient.
  at::Tensor forward(const at::Tensor& x, const kernels::DropoutContext* dropout = nullptr);

  const std::string& path() const { return path_; }  // "model.layers.0.self_attn.q_proj"
  const kernels::BaseWeight& base() const { return base_; }
  torch::nn::Linear base_layer{nullptr};

  bool adapted() const { return lora_.has_value(); }
  const LoraMatrices& lora() const { return *lora_; }
  LoraMatrices& lora() { return *lora_; }
  /// ModelError when the shapes do not fit, ConfigError when the slot has an adapter already.
  void attach(LoraMatrices matrices);
  void detach();                                          // the base again, merged or not
  void set_enabled(bool enabled) { enabled_ = enabled; }  // off: the base model
  bool enabled() const { return enabled_; }
  bool merged() const { return merged_weight_.defined(); }

  /// W' = round(W + s B A) in a copy, rounded once; forward then uses W' alone. unmerge drops the copy: the exact bytes
  /// are back. Both do nothing when there is nothing to do.
  void merge();
  void unmerge();
  /// s·B A in fp32 [out, in].
  at::Tensor delta_weight() const;
  /// Re-reads base_layer's tensors into base() (after set_data by a flat-parameter owner); a merge is dropped.
  void rebind();

 private:
  std::string path_;
  kernels::BaseWeight base_;
  std::optional<LoraMatrices> lora_;
  kernels::BaseWeight merged_base_;
  at::Tensor merged_weight_;
  bool enabled_ = true;
};
TORCH_MODULE(LinearSlot);

}  // namespace lowrank::lora
