// A convolution of a model: its path, its frozen weight, and the adapter that is attached to it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "lowrank/kernels/convolution.h"
#include "lowrank/kernels/dropout.h"
#include "lowrank/lora/linear_slot.h"

namespace lowrank::lora {

/// New matrices for a convolution's weight [out, in / groups, k…]: A [r, in, k…] U(±1/√(in·Πk)) (or N(0, 1/r²)), B
/// [out, r / groups, 1…] zero, as PEFT begins. ConfigError when r is no multiple of groups.
LoraMatrices new_conv_matrices(const std::string& name, const at::Tensor& weight, std::int64_t groups, std::int64_t r,
                               const std::string& init, std::uint64_t seed);

/// s·B A as a kernel [out, in, k…], differentiable: ΔW[o, i] = s Σ_j B[o, j] A[g·r/groups + j, i] with g the group of
/// o. A sees every input channel, so with groups > 1 the sum with W is a convolution without groups.
at::Tensor conv_delta(const LoraMatrices& matrices, std::int64_t groups);

/// W [out, in / groups, k…] as the kernel of the same convolution without groups: [out, in, k…], zero outside its
/// blocks.
at::Tensor without_groups(const at::Tensor& weight, std::int64_t groups);

/// y = conv(x, W) + b + s·conv₁ₓ₁(conv(drop(x), A), B): PEFT's lora.Conv1d and Conv2d, where A has the base's stride
/// and padding, and (PEFT leaves these out) its dilation and padding mode, and B its groups.
class ConvSlotImpl {
 public:
  /// weight [out, in / groups, k…] and bias [out] or undefined are shared, not copied. They are used as they are:
  /// freezing them is the owner's.
  ConvSlotImpl(std::string path, at::Tensor weight, at::Tensor bias, kernels::ConvShape shape);

  /// x [N, in, …] or [in, …] -> [N, out, …] or [out, …], in x's dtype. Dropout counts x's first dimension as tokens.
  /// ConfigError when a merged slot is asked for a training pass.
  at::Tensor forward(const at::Tensor& x, const kernels::DropoutContext* dropout = nullptr);

  const std::string& path() const { return path_; }
  const at::Tensor& weight() const { return weight_; }
  const at::Tensor& bias() const { return bias_; }
  const kernels::ConvShape& shape() const { return shape_; }
  std::int64_t in_channels() const { return weight_.size(1) * shape_.groups; }
  std::int64_t out_channels() const { return weight_.size(0); }

  bool adapted() const { return lora_.a.defined(); }
  const LoraMatrices& lora() const { return lora_; }
  /// Enabled from the start. ModelError when the shapes do not fit, ConfigError when there is one already.
  void attach(LoraMatrices matrices);
  void detach();
  void set_enabled(bool enabled) { enabled_ = enabled; }
  bool enabled() const { return adapted() && enabled_; }

  /// W' = round(W + ΔW) in a copy, without groups where there are any; unmerge drops it: the exact bytes are back.
  void merge();
  void unmerge() { merged_ = at::Tensor(); }
  bool merged() const { return merged_.defined(); }
  /// s·B A in fp32, [out, in, k…]: without groups, see conv_delta.
  at::Tensor delta_weight() const;

 private:
  std::string path_;
  at::Tensor weight_, bias_;
  kernels::ConvShape shape_;
  LoraMatrices lora_;
  bool enabled_ = true;
  at::Tensor merged_;
};
using ConvSlot = std::shared_ptr<ConvSlotImpl>;

}  // namespace lowrank::lora
