#include "lowrank/models/blocks/layer.h"

namespace lowrank::models {

Layer::Layer(const LayerSpec& spec, std::int64_t width, const Scope& scope)
    : width_(width),
      parallel_(spec.parallel),
      scale_(spec.residual_scale),
      mixer_norm_(spec.mixer_norm, width, scope),
      mlp_norm_(spec.mlp_norm, width, scope),
      mixer_norm_after_(spec.mixer_norm_after, width, scope),
      mlp_norm_after_(spec.mlp_norm_after, width, scope),
      mixer_(spec.mixer->build(width, scope)),
      mlp_(spec.mlp->build(width, scope)) {}

at::Tensor Layer::forward(const at::Tensor& x, const LayerPass& pass, MixerState* state) const {
  const at::Tensor h = mixer_norm_.forward(x);
  const at::Tensor y = x.add(mixer_norm_after_.forward(mixer_->forward(h, pass, state)), scale_);
  const at::Tensor g = parallel_ ? (mlp_norm_ ? mlp_norm_.forward(x) : h) : mlp_norm_.forward(y);
  return y.add(mlp_norm_after_.forward(mlp_->forward(g, pass)), scale_);
}

std::int64_t Layer::kept_per_token() const {
  return 6 * width_ + mixer_->kept_per_token() + mlp_->kept_per_token();  // 6: the layer's streams
}

}  // namespace lowrank::models
