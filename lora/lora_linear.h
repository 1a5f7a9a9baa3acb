// LoraLinear: a drop-in for torch::nn::Linear in a user's own torch::nn::Module.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>

#include <cstdint>
#include <string>

#include "lowrank/lora/linear_slot.h"

namespace lowrank::lora {

struct LoraLinearOptions {
  std::int64_t r = 8;
  double alpha = 8;
  double dropout = 0;
  bool rslora = false;
  std::uint64_t seed = 42;
  /// Part of the random streams: layers with the same seed and name draw the same numbers for A and for dropout, so
  /// give each layer of a network a name (or a seed) of its own.
  std::string name;
};

/// Wraps a torch::nn::Linear: its weight and bias are frozen and shared, lora_A [r, in] and lora_B [out, r] are the
/// only trainable parameters. x [..., in] -> [..., out]; dropout acts in train() mode and draws afresh at every call.
/// merge() adds s·B A into a copy (then train() mode is a ConfigError), unmerge() restores the exact bytes. ConfigError
/// for options that cannot be.
class LoraLinearImpl : public torch::nn::Module {
 public:
  LoraLinearImpl(torch::nn::Linear base, const LoraLinearOptions& options);
  at::Tensor forward(const at::Tensor& x);
  void merge() { slot_->merge(); }
  void unmerge() { slot_->unmerge(); }
  void set_enabled(bool enabled) { slot_->set_enabled(enabled); }
  LinearSlot slot() const { return slot_; }
  void pretty_print(std::ostream& stream) const override;

 private:
  LinearSlot slot_{nullptr};
  std::uint64_t seed_, calls_ = 0;
};
TORCH_MODULE(LoraLinear);

}  // namespace lowrank::lora
