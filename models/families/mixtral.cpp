// Mixtral 8x7B and 8x22B: Mistral with a mixture of experts, whose weights are a softmax over those that a token takes
// (transformers' MixtralForCausalLM). Files call its MLPs block_sparse_moe, and an expert's layers w1, w3 and w2.
#include "lowrank/models/families/experts.h"
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 8;

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads)};
  parts.default_eps = 1e-5;
  parts.windows.assign(static_cast<std::size_t>(config.layers), read_window(keys, std::nullopt));
  parts.rope.default_theta = 1e6;
  DecoderSpec spec = llama_blocks(keys, config, parts);
  const auto mlp = read_experts(keys, 8, 2);
  mlp->width = dense_mlp(spec).width;
  mlp->activation = dense_mlp(spec).activation;
  mlp->routing = kernels::Router::kRenormalised;
  mlp->parts = {"w1", "w3", "w2"};
  keys.number("router_jitter_noise", 0);  // noise of the base's own training
  set_mlps(mlp, spec);
  spec.own_spelling = "mlp", spec.older_spelling = "block_sparse_moe";
  spec.converts_expert_targets = true;
  return spec;
}

}  // namespace

const Family& mixtral_family() {
  static const Family family{.model_type = "mixtral",
                             .architecture = "MixtralForCausalLM",
                             .describe = describe,
                             .default_max_positions = 4096 * 32,
                             .spellings = {{"num_experts", "num_local_experts"}}};
  return family;
}

}  // namespace lowrank::models
