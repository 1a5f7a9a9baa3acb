#include "lowrank/models/families/experts.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "lowrank/models/limits.h"

namespace lowrank::models {

std::shared_ptr<ExpertsMlpSpec> read_experts(ConfigReader& keys, std::int64_t default_experts,
                                             std::int64_t default_per_token) {
  auto mlp = std::make_shared<ExpertsMlpSpec>();
  mlp->experts = keys.integer("num_experts", default_experts, 1, kMaxExperts);
  mlp->per_token = keys.integer("num_experts_per_tok", default_per_token, 1, kMaxExperts);
  if (mlp->per_token > mlp->experts) {
    keys.json().fail(fmt::format("num_experts_per_tok is {}, but there are {} experts", mlp->per_token, mlp->experts));
  }
  keys.number("router_aux_loss_coef", 0.001);
  keys.boolean("output_router_logits", false);
  return mlp;
}

void set_sparse_layers(ConfigReader& keys, const std::shared_ptr<const MlpSpec>& mlp, DecoderSpec& spec) {
  const auto layers = static_cast<std::int64_t>(spec.layers.size());
  const std::int64_t step = keys.integer("decoder_sparse_step", 1, 1, kMaxLayers);
  std::vector<std::int64_t> dense;
  if (keys.has_value("mlp_only_layers")) {
    const core::JsonView list = keys.at("mlp_only_layers");
    for (std::size_t i = 0; i < list.size(); ++i) dense.push_back(list.at(i).as_int(0, kMaxLayers));
  }
  keys.write("mlp_only_layers", core::Json(dense));
  for (std::int64_t i = 0; i < layers; ++i) {
    if ((i + 1) % step != 0 || std::find(dense.begin(), dense.end(), i) != dense.end()) continue;
    spec.layers[static_cast<std::size_t>(i)].mlp = mlp;
  }
}

void set_mlps(const std::shared_ptr<const MlpSpec>& mlp, DecoderSpec& spec) {
  for (LayerSpec& layer : spec.layers) layer.mlp = mlp;
}

const DenseMlpSpec& dense_mlp(const DecoderSpec& spec) {
  return dynamic_cast<const DenseMlpSpec&>(*spec.layers.front().mlp);
}

}  // namespace lowrank::models
