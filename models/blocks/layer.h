// One layer of a decoder: a mixer and an MLP around the residual stream.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "lowrank/models/blocks/mixer.h"
#include "lowrank/models/blocks/mlp.h"
#include "lowrank/models/blocks/norm.h"

namespace lowrank::models {

/// After both branches: z + norm(projection(f(gate(z)) · p)), p [T, width] being the layer's part of the embedding's
/// per-layer inputs (Gemma 4).
struct PerLayerSpec {
  std::int64_t width = 0;  // 0: none
  kernels::Activation activation = kernels::Activation::kGeluTanh;
  NormSpec norm;
};

/// y = x + s · after(mixer(before(x))), then y + s · after(mlp(before(y))), each norm possibly none: pre-norm has the
/// first, post-norm (OLMo 2) the second, a sandwich (Gemma 2) both.
struct LayerSpec {
  std::shared_ptr<const MixerSpec> mixer;
  std::shared_ptr<const MlpSpec> mlp;
  NormSpec mixer_norm, mlp_norm, mixer_norm_after = {}, mlp_norm_after = {};
  /// The two norms are of what has come out of a branch with the residual stream: y = norm(x + mixer(x)) (OPT-350m).
  bool norm_sum = false;
  /// Both branches read x: x + mixer(…) + mlp(…). Where mlp_norm is none the MLP shares the mixer's.
  bool parallel = false;
  double residual_scale = 1;  // s
  PerLayerSpec per_layer = {};
  bool scalar = false;  // a stored number "layer_scalar", by which what leaves the layer is multiplied; not trained
};

class Layer {
 public:
  /// `scope`: "model.layers.0.".
  Layer(const LayerSpec& spec, std::int64_t width, const Scope& scope);

  /// x [T, d] -> [T, d]. `state`: the mixer's in a cache, or null.
  at::Tensor forward(const at::Tensor& x, const LayerPass& pass, MixerState* state) const;
  const Mixer& mixer() const { return *mixer_; }
  /// Values that a backward pass keeps of a token, about.
  std::int64_t kept_per_token() const;

 private:
  at::Tensor with_per_layer(const at::Tensor& z, const LayerPass& pass) const;

  std::int64_t width_;
  bool parallel_, norm_sum_;
  double scale_;
  Norm mixer_norm_, mlp_norm_, mixer_norm_after_, mlp_norm_after_;
  std::unique_ptr<Mixer> mixer_;
  std::unique_ptr<Mlp> mlp_;
  PerLayerSpec per_layer_;
  lora::LinearSlot per_layer_gate_, per_layer_projection_;
  Norm per_layer_norm_;
  lora::WholeModule scalar_;
};

}  // namespace lowrank::models
