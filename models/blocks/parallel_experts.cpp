#include "lowrank/models/blocks/parallel_experts.h"

#include <cmath>

#include "lowrank/models/blocks/routed_experts.h"

namespace lowrank::models {
namespace {

constexpr const char* kScale = "scale";
constexpr const char* kPerExpert = "per_expert_scale";

class ScaledRouter {
 public:
  ScaledRouter(const ParallelExpertsSpec& spec, std::int64_t width, const Scope& layer)
      : per_token_(spec.per_token),
        factor_(1 / std::sqrt(static_cast<double>(width))),
        norm_({.kind = NormSpec::Kind::kWideRms, .name = "norm", .eps = spec.router_eps, .weight = false}, width, layer),
        projection_(layer.inside(spec.router).linear("proj", {width, spec.experts})),
        scales_(layer.parameters(spec.router, {{kScale, {width}, {Initial::Kind::kOnes}},
                                               {kPerExpert, {spec.experts}, {Initial::Kind::kOnes}}})) {
    layer.keep_from_all_linear(projection_->path());
  }

  kernels::Routed forward(const at::Tensor& x, const LayerPass& pass) const {
    const at::Tensor scale = scales_->current(kScale), by_expert = scales_->current(kPerExpert);
    const at::Tensor logits = projection_->forward(norm_.forward(x).mul(scale).mul(factor_), pass.dropout);
    kernels::Routed routed = kernels::route(logits, per_token_, kernels::Router::kRenormalised);
    const at::Tensor own = by_expert.index_select(0, routed.experts.flatten()).view_as(routed.experts);
    routed.weights = routed.weights.mul(own);
    return routed;
  }

 private:
  std::int64_t per_token_;
  double factor_;
  Norm norm_;
  lora::LinearSlot projection_;
  lora::WholeModule scales_;
};

class ParallelExperts : public Mlp {
 public:
  ParallelExperts(const ParallelExpertsSpec& spec, std::int64_t width, const Scope& layer)
      : width_(width),
        dense_norm_(spec.dense_norm, width, layer),
        dense_norm_after_(spec.dense_norm_after, width, layer),
        experts_norm_(spec.experts_norm, width, layer),
        experts_norm_after_(spec.experts_norm_after, width, layer),
        dense_(spec.dense->build(width, layer)),
        router_(spec, width, layer),
        experts_(spec, width, layer) {}

  at::Tensor forward(const at::Tensor& x, const LayerPass& pass) const override {
    const at::Tensor dense = dense_norm_after_.forward(dense_->forward(dense_norm_.forward(x), pass));
    const at::Tensor routed = experts_.forward(experts_norm_.forward(x), router_.forward(x, pass));
    return dense.add(experts_norm_after_.forward(routed));
  }

  std::int64_t kept_per_token() const override {
    // What goes into the norms after, and into the router.
    return 3 * width_ + dense_->kept_per_token() + experts_.kept_per_token();
  }

 private:
  std::int64_t width_;
  Norm dense_norm_, dense_norm_after_, experts_norm_, experts_norm_after_;
  std::unique_ptr<Mlp> dense_;
  ScaledRouter router_;
  RoutedExperts experts_;
};

}  // namespace

std::unique_ptr<Mlp> ParallelExpertsSpec::build(std::int64_t model_width, const Scope& layer) const {
  return std::make_unique<ParallelExperts>(*this, model_width, layer);
}

}  // namespace lowrank::models
