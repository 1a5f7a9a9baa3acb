// Qwen3-MoE (30B-A3B, 235B-A22B): Qwen3's attention and a mixture of experts, whose weights are a softmax over all of
// them (transformers' Qwen3MoeForCausalLM).
#include "lowrank/models/families/experts.h"
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 4, kDefaultWindow = 4096;

// One for all layers, where use_sliding_window asks for it. (max_window_layers and layer_types are not looked at.)
std::optional<std::int64_t> read_only_window(ConfigReader& keys) {
  keys.has("max_window_layers");
  const bool used = keys.boolean("use_sliding_window", false);
  std::optional<std::int64_t> window = read_window(keys, kDefaultWindow);
  if (!used) window.reset();
  keys.write("sliding_window", window ? core::Json(*window) : core::Json(nullptr));
  return window;
}

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads)};
  parts.qkv_bias = parts.o_bias = keys.boolean("attention_bias", false);
  parts.qk_norm = true;
  parts.windows.assign(static_cast<std::size_t>(config.layers), read_only_window(keys));
  DecoderSpec spec = llama_blocks(keys, config, parts);
  const auto mlp = read_experts(keys, 128, 8);
  mlp->width = keys.integer("moe_intermediate_size", 768, 1, kMaxIntermediate);
  mlp->activation = dense_mlp(spec).activation;
  mlp->routing = keys.boolean("norm_topk_prob", false) ? kernels::Router::kRenormalised : kernels::Router::kSoftmax;
  set_sparse_layers(keys, mlp, spec);
  spec.converts_expert_targets = true;
  return spec;
}

}  // namespace

const Family& qwen3_moe_family() {
  static const Family family{.model_type = "qwen3_moe",
                             .architecture = "Qwen3MoeForCausalLM",
                             .describe = describe,
                             .default_max_positions = 32768,
                             .spellings = {{"num_experts", "num_local_experts"}}};
  return family;
}

}  // namespace lowrank::models
