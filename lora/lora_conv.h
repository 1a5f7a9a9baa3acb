// LoraConv1d, LoraConv2d: drop-ins for torch::nn::Conv1d and Conv2d in a user's own torch::nn::Module.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/conv.h>

#include <cstdint>
#include <string>

#include "lowrank/lora/conv_slot.h"
#include "lowrank/lora/lora_linear.h"

namespace lowrank::lora {

/// Rank, alpha, dropout, seed and name, as of LoraLinear.
using LoraConvOptions = LoraLinearOptions;

/// What both wrap a convolution with: its weight and bias are frozen and shared, lora_A and lora_B are the only
/// trainable parameters (shapes and formula: ConvSlotImpl). Dropout acts in train() mode and draws afresh at every
/// call. merge() adds ΔW into a copy (then train() mode is a ConfigError), unmerge() restores the exact bytes.
/// ConfigError for options that cannot be, as a rank that is no multiple of the groups.
class LoraConvImpl : public torch::nn::Module {
 public:
  at::Tensor forward(const at::Tensor& x);
  void merge() { slot_->merge(); }
  void unmerge() { slot_->unmerge(); }
  void set_enabled(bool enabled) { slot_->set_enabled(enabled); }
  ConvSlot slot() const { return slot_; }
  void pretty_print(std::ostream& stream) const override;

 protected:
  LoraConvImpl(const char* name, const std::shared_ptr<torch::nn::Module>& base, ConvSlot slot,
               const LoraConvOptions& options);

 private:
  ConvSlot slot_;
  std::uint64_t seed_, calls_ = 0;
};

/// x [N, in, L] or [in, L].
class LoraConv1dImpl : public LoraConvImpl {
 public:
  LoraConv1dImpl(torch::nn::Conv1d base, const LoraConvOptions& options);
};
TORCH_MODULE(LoraConv1d);

/// x [N, in, H, W] or [in, H, W].
class LoraConv2dImpl : public LoraConvImpl {
 public:
  LoraConv2dImpl(torch::nn::Conv2d base, const LoraConvOptions& options);
};
TORCH_MODULE(LoraConv2d);

}  // namespace lowrank::lora
