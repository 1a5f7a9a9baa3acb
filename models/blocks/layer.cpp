#include "lowrank/models/blocks/layer.h"

namespace lowrank::models {

Layer::Layer(const LayerSpec& spec, std::int64_t width, const Scope& scope)
    : width_(width),
      parallel_(spec.parallel),
      norm_sum_(spec.norm_sum),
      scale_(spec.residual_scale),
      mixer_norm_(spec.mixer_norm, width, scope),
      mlp_norm_(spec.mlp_norm, width, scope),
      mixer_norm_after_(spec.mixer_norm_after, width, scope),
      mlp_norm_after_(spec.mlp_norm_after, width, scope),
      mixer_(spec.mixer->build(width, scope)),
      mlp_(spec.mlp->build(width, scope)),
      per_layer_(spec.per_layer) {
  if (per_layer_.width != 0) {
    per_layer_gate_ = scope.linear("per_layer_input_gate", {width, per_layer_.width});
    per_layer_projection_ = scope.linear("per_layer_projection", {per_layer_.width, width});
    per_layer_norm_ = Norm(per_layer_.norm, width, scope);
  }
  if (spec.scalar) scalar_ = scope.own_parameters({{"layer_scalar", {1}, {Initial::Kind::kOnes}, /*fixed=*/true}});
}

at::Tensor Layer::with_per_layer(const at::Tensor& z, const LayerPass& pass) const {
  const at::Tensor gate = per_layer_gate_->forward(z, pass.dropout);
  const at::Tensor gated = kernels::gated(gate, pass.carried->per_layer, per_layer_.activation);
  return z.add(per_layer_norm_.forward(per_layer_projection_->forward(gated, pass.dropout)));
}

at::Tensor Layer::forward(const at::Tensor& x, const LayerPass& pass, MixerState* state) const {
  if (norm_sum_) {
    const at::Tensor y = mixer_norm_.forward(x.add(mixer_->forward(x, pass, state)));
    return mlp_norm_.forward(y.add(mlp_->forward(y, pass)));
  }
  const at::Tensor h = mixer_norm_.forward(x);
  const at::Tensor y = x.add(mixer_norm_after_.forward(mixer_->forward(h, pass, state)), scale_);
  const at::Tensor g = parallel_ ? (mlp_norm_ ? mlp_norm_.forward(x) : h) : mlp_norm_.forward(y);
  at::Tensor z = y.add(mlp_norm_after_.forward(mlp_->forward(g, pass)), scale_);
  if (per_layer_.width != 0) z = with_per_layer(z, pass);
  return scalar_ == nullptr ? z : z.mul(scalar_->current("layer_scalar"));
}

std::int64_t Layer::kept_per_token() const {
  // What goes into the norms, those after too; what comes out of them is made again.
  const std::int64_t norms = parallel_ ? 1 : 2;
  const std::int64_t after = (mixer_norm_after_ ? 1 : 0) + (mlp_norm_after_ ? 1 : 0);
  const std::int64_t per_layer = per_layer_.width == 0 ? 0 : 2 * (width_ + per_layer_.width);
  return (norms + after) * width_ + per_layer + mixer_->kept_per_token() + mlp_->kept_per_token();
}

}  // namespace lowrank::models
