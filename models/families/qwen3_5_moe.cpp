// Qwen3.5's mixtures (35B-A3B …): Qwen3.5's mixers, a mixture of experts in every layer, and beside it a shared expert
// behind a gate of its own (transformers' Qwen3_5MoeForCausalLM, and the text of Qwen3_5MoeForConditionalGeneration).
#include "lowrank/models/families/experts.h"
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/qwen3_5.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {
namespace {

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  DecoderSpec spec = qwen3_5_blocks(keys, config, /*default_kv_heads=*/2);
  const auto mlp = read_experts(keys, 256, 8);
  mlp->width = keys.integer("moe_intermediate_size", 512, 1, kMaxIntermediate);
  mlp->activation = dense_mlp(spec).activation;
  mlp->routing = kernels::Router::kRenormalised;
  keys.has("norm_topk_prob");  // passed over: they are divided by their sum, whatever a config says
  auto shared = std::make_shared<DenseMlpSpec>(dense_mlp(spec));
  shared->width = keys.integer("shared_expert_intermediate_size", 512, 1, kMaxIntermediate);
  shared->scope = "shared_expert";
  mlp->shared = shared;
  set_mlps(mlp, spec);
  return spec;
}

}  // namespace

const Family& qwen3_5_moe_text_family() {
  static const Family family{.model_type = "qwen3_5_moe_text",
                             .architecture = "Qwen3_5MoeForCausalLM",
                             .describe = describe,
                             .default_max_positions = 32768,
                             .defaults = {{"intermediate_size", 512}}};  // of dense layers, of which there are none
  return family;
}

const Family& qwen3_5_moe_family() {
  static const Family family{.model_type = "qwen3_5_moe",
                             .architecture = "Qwen3_5MoeForConditionalGeneration",
                             .text_type = "qwen3_5_moe_text"};
  return family;
}

}  // namespace lowrank::models
