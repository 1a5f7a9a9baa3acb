// A dense MLP and a mixture of experts side by side (Gemma 4).
#pragma once

#include <memory>
#include <string>

#include "lowrank/models/blocks/experts.h"
#include "lowrank/models/blocks/norm.h"

namespace lowrank::models {

/// dense_norm_after(dense(dense_norm(x))) + experts_norm_after(experts(experts_norm(x))), all in the scope of the layer.
/// The router reads x by itself: logits = projection(x̂ · scale / √d), x̂ of an RMSNorm without a weight; a token's
/// weights are divided by their sum and then each multiplied with its expert's own scale. The projection is a linear
/// layer `router`.proj, a target as any other by its name, which all-linear passes over; `router`.scale [d] and
/// `router`.per_expert_scale [E] are the router's own parameters. Of ExpertsMlpSpec there are no biases, no shared
/// expert, and no load-balancing loss.
struct ParallelExpertsSpec : ExpertsMlpSpec {
  std::shared_ptr<const DenseMlpSpec> dense;
  NormSpec dense_norm, dense_norm_after, experts_norm, experts_norm_after;
  double router_eps = 1e-6;

  std::unique_ptr<Mlp> build(std::int64_t model_width, const Scope& layer) const override;
};

}  // namespace lowrank::models
