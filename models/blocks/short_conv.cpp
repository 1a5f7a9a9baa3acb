#include "lowrank/models/blocks/short_conv.h"

#include <vector>

#include "lowrank/kernels/linear_attention.h"
#include "lowrank/models/blocks/recurrent_state.h"

namespace lowrank::models {
namespace {

class ShortConv : public Mixer {
 public:
  ShortConv(const ShortConvSpec& spec, std::int64_t width, const Scope& layer) : width_(width) {
    const Scope scope = layer.inside(spec.scope);
    std::vector<Parameter> parameters = {{"weight", {width, 1, spec.taps}}};
    if (spec.bias) parameters.push_back({"bias", {width}, {Initial::Kind::kZeros}});
    conv_ = scope.parameters("conv", parameters);
    in_ = scope.linear("in_proj", {width, 3 * width, spec.bias});
    out_ = scope.linear("out_proj", {width, width, spec.bias});
  }

  at::Tensor forward(const at::Tensor& x, const LayerPass& pass, MixerState* state) const override {
    const auto parts = in_->forward(x, pass.dropout).split_with_sizes({width_, width_, width_}, 1);
    const at::Tensor gated = parts[0].mul(parts[2]), weight = conv_->current("weight").squeeze(1);
    const at::Tensor bias = conv_->current("bias");
    at::Tensor mixed;
    if (state == nullptr) {
      mixed = kernels::causal_convolution(gated, weight, bias, pass.segments, /*silu=*/false);
    } else {
      auto& kept = *static_cast<RecurrentState*>(state);
      kept.begin(pass.segments);
      mixed = kernels::causal_convolution(gated, weight, bias, pass.segments, /*silu=*/false, kept.of(0));
    }
    return out_->forward(parts[1].mul(mixed), pass.dropout);
  }

  std::unique_ptr<MixerState> make_state(KvDtype) const override { return std::make_unique<RecurrentState>(1); }
  std::int64_t kept_per_token() const override { return 6 * width_; }  // B, C, x, B · x, its convolution, the product

 private:
  std::int64_t width_;
  lora::WholeModule conv_;
  lora::LinearSlot in_, out_;
};

}  // namespace

std::unique_ptr<Mixer> ShortConvSpec::build(std::int64_t width, const Scope& layer) const {
  return std::make_unique<ShortConv>(*this, width, layer);
}

}  // namespace lowrank::models
