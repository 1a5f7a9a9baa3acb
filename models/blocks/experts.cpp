#include "lowrank/models/blocks/experts.h"

#include "lowrank/kernels/experts.h"
#include "lowrank/models/blocks/routed_experts.h"

namespace lowrank::models {
namespace {

class ExpertsMlp : public Mlp {
 public:
  ExpertsMlp(const ExpertsMlpSpec& spec, std::int64_t width, const Scope& scope)
      : spec_(spec),
        model_width_(width),
        router_(scope.router(spec.router, {width, spec.experts, spec.router_bias})),
        experts_(spec, width, scope) {
    if (spec.shared == nullptr) return;
    shared_ = spec.shared->build(width, scope);
    shared_gate_ = scope.linear(spec.shared_gate, {width, 1});
  }

  at::Tensor forward(const at::Tensor& x, const LayerPass& pass) const override {
    at::Tensor logits = router_->forward(x);
    if (pass.balance != nullptr) logits = kernels::balanced(logits, spec_.per_token, pass.balance);
    const at::Tensor y = experts_.forward(x, kernels::route(logits, spec_.per_token, spec_.routing));
    if (shared_ == nullptr) return y;
    const auto all = std::make_shared<const kernels::ExpertRows>(kernels::rows_of_one(x.size(0)));
    const at::Tensor gate = kernels::activate(shared_gate_->forward(x, pass.dropout), kernels::Activation::kSigmoid);
    return y.add(kernels::combine_experts(shared_->forward(x, pass), gate, all));
  }

  std::int64_t kept_per_token() const override {
    return experts_.kept_per_token() + (shared_ == nullptr ? 0 : shared_->kept_per_token() + model_width_);
  }

 private:
  ExpertsMlpSpec spec_;
  std::int64_t model_width_;
  lora::LinearSlot router_, shared_gate_;
  RoutedExperts experts_;
  std::unique_ptr<Mlp> shared_;
};

}  // namespace

std::unique_ptr<Mlp> ExpertsMlpSpec::build(std::int64_t model_width, const Scope& layer) const {
  return std::make_unique<ExpertsMlp>(*this, model_width, layer.inside(scope));
}

}  // namespace lowrank::models
