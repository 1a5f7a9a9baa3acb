#include "lowrank/models/blocks/mlp.h"

namespace lowrank::models {
namespace {

class DenseMlp : public Mlp {
 public:
  DenseMlp(const DenseMlpSpec& spec, std::int64_t width, const Scope& scope)
      : width_(spec.width), activation_(spec.activation) {
    const auto input = [&](const std::string& name, std::int64_t columns) {
      return scope.linear(name, {width, columns, spec.bias, spec.transposed});
    };
    if (!spec.fused.empty()) {
      fused_ = input(spec.fused, 2 * spec.width);
    } else {
      if (!spec.gate.empty()) gate_ = input(spec.gate, spec.width);
      up_ = input(spec.up, spec.width);
    }
    down_ = scope.linear(spec.down, {spec.width, width, spec.bias, spec.transposed, spec.down_deviation});
  }

  at::Tensor forward(const at::Tensor& x, const LayerPass& pass) const override {
    return down_->forward(inner(x, pass.dropout), pass.dropout);
  }
  std::int64_t kept_per_token() const override { return (gate_ == nullptr && fused_ == nullptr ? 1 : 2) * width_; }

 private:
  at::Tensor inner(const at::Tensor& x, const kernels::DropoutContext* dropout) const {
    if (fused_ != nullptr) {
      const auto parts = fused_->forward(x, dropout).split_with_sizes({width_, width_}, 1);
      return kernels::gated(parts[0], parts[1], activation_);
    }
    if (gate_ == nullptr) return kernels::activate(up_->forward(x, dropout), activation_);
    // In this order: x's gradient is summed in the reverse of it.
    const auto parts = lora::forward_together({up_, gate_}, x, dropout);
    return kernels::gated(parts[1], parts[0], activation_);
  }

  std::int64_t width_;
  kernels::Activation activation_;
  lora::LinearSlot gate_, up_, fused_, down_;
};

}  // namespace

std::unique_ptr<Mlp> DenseMlpSpec::build(std::int64_t model_width, const Scope& layer) const {
  return std::make_unique<DenseMlp>(*this, model_width, scope.empty() ? layer : layer.inside(scope));
}

}  // namespace lowrank::models
