// A linear layer of a model: its Hugging Face path, its frozen weight, and the adapters that are attached to it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/kernels/lora_linear.h"

namespace torch::nn {
class Module;
}

namespace lowrank::lora {

/// One adapter's matrices at one linear layer: A [r, in], B [out, r], fp32 leaves.
struct LoraMatrices {
  at::Tensor a, b;
  std::int64_t r = 0;
  double scale = 1;
  double dropout = 0;
};

/// y = x Wᵀ + b + Σ s·drop(x) Aᵀ Bᵀ over the mapped weight of a torch::nn::Linear. (This header stays free of LibTorch's
/// module headers, which cost every file that includes them 10 s of compilation.)
class LinearSlotImpl {
 public:
  /// weight [out, in], bias [out] or undefined; neither is copied, both are frozen.
  LinearSlotImpl(std::string path, at::Tensor weight, at::Tensor bias);

  /// x [T, in] -> [T, out]. ConfigError when a merged slot is asked for a training pass (dropout given, or x in a
  /// graph): A and B would get no gradient.
  at::Tensor forward(const at::Tensor& x, const kernels::DropoutContext* dropout = nullptr);

  const std::string& path() const { return path_; }  // "model.layers.0.self_attn.q_proj"
  const kernels::BaseWeight& base() const { return base_; }
  /// The tensors of the torch::nn::Linear itself.
  const at::Tensor& weight() const { return weight_; }
  const at::Tensor& bias() const { return bias_; }
  /// The layer as LibTorch's modules, children named as PEFT names them: base_layer (a torch::nn::Linear), and with an
  /// adapter lora_A and lora_B, whose "weight" are the tensors of lora() themselves.
  const std::shared_ptr<torch::nn::Module>& module() const { return module_; }

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
  /// Re-reads weight() and bias() into base() (after set_data by a flat-parameter owner); a merge is dropped.
  void rebind();

 private:
  std::string path_;
  std::shared_ptr<torch::nn::Module> module_;
  at::Tensor weight_, bias_;
  kernels::BaseWeight base_;
  std::optional<LoraMatrices> lora_;
  kernels::BaseWeight merged_base_;
  at::Tensor merged_weight_;
  bool enabled_ = true;
};
using LinearSlot = std::shared_ptr<LinearSlotImpl>;  // shared by a model and the adapters attached to it

}  // namespace lowrank::lora
