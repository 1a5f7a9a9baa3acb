#include "lowrank/models/blocks/gated_delta.h"

#include "lowrank/kernels/norms.h"
#include "lowrank/models/blocks/recurrent_state.h"

namespace lowrank::models {
namespace {

enum Kept : std::size_t { kBefore, kDelta, kKinds };  // of the convolution, and of the delta rule

class GatedDelta : public Mixer {
 public:
  GatedDelta(const GatedDeltaSpec& spec, std::int64_t width, const Scope& layer) : spec_(spec) {
    const Scope scope = layer.inside(spec.scope);
    const kernels::DeltaRuleShape& shape = spec.shape;
    gates_ = layer.parameters(spec.scope, {{"dt_bias", {shape.value_heads}, {Initial::Kind::kOnes}},
                                           {"A_log", {shape.value_heads}, {Initial::Kind::kLogUniform}}});
    conv_ = scope.parameters("conv1d", {{"weight", {shape.columns(), 1, spec.taps}}});
    norm_ = scope.parameters("norm", {{"weight", {shape.value_dim}, {Initial::Kind::kOnes}}});
    out_ = scope.linear("out_proj", {shape.value_columns(), width});
    qkv_ = scope.linear("in_proj_qkv", {width, shape.columns()});
    z_ = scope.linear("in_proj_z", {width, shape.value_columns()});
    b_ = scope.linear("in_proj_b", {width, shape.value_heads});
    a_ = scope.linear("in_proj_a", {width, shape.value_heads});
  }

  at::Tensor forward(const at::Tensor& x, const LayerPass& pass, MixerState* state) const override {
    const at::Tensor qkv = qkv_->forward(x, pass.dropout), z = z_->forward(x, pass.dropout);
    const at::Tensor beta = kernels::activate(b_->forward(x, pass.dropout), kernels::Activation::kSigmoid);
    const at::Tensor g =
        kernels::delta_decay(a_->forward(x, pass.dropout), gates_->current("A_log"), gates_->current("dt_bias"));
    at::Tensor o;
    if (state == nullptr) {
      const at::Tensor mixed = activated(kernels::causal_convolution(qkv, taps(), {}, pass.segments, fused_silu()));
      o = kernels::gated_delta_rule(mixed, g, beta, spec_.shape, pass.segments);
    } else {
      auto& kept = *static_cast<RecurrentState*>(state);
      kept.begin(pass.segments);
      const at::Tensor mixed =
          activated(kernels::causal_convolution(qkv, taps(), {}, pass.segments, fused_silu(), kept.of(kBefore)));
      o = kernels::gated_delta_rule(mixed, g, beta, spec_.shape, pass.segments, kept.of(kDelta));
    }
    const at::Tensor weight = norm_->current("weight").to(o.scalar_type());
    return out_->forward(kernels::gated_rms_norm(o, weight, z, spec_.eps), pass.dropout);
  }

  std::unique_ptr<MixerState> make_state(KvDtype) const override { return std::make_unique<RecurrentState>(kKinds); }

  std::int64_t kept_per_token() const override {
    return spec_.shape.columns() + 2 * spec_.shape.value_columns() + 3 * spec_.shape.value_heads;
  }

 private:
  at::Tensor taps() const { return conv_->current("weight").squeeze(1); }
  bool fused_silu() const { return spec_.activation == kernels::Activation::kSilu; }
  at::Tensor activated(const at::Tensor& x) const { return fused_silu() ? x : kernels::activate(x, spec_.activation); }

  GatedDeltaSpec spec_;
  lora::WholeModule gates_, conv_, norm_;
  lora::LinearSlot qkv_, z_, b_, a_, out_;
};

}  // namespace

std::unique_ptr<Mixer> GatedDeltaSpec::build(std::int64_t width, const Scope& layer) const {
  return std::make_unique<GatedDelta>(*this, width, layer);
}

}  // namespace lowrank::models
