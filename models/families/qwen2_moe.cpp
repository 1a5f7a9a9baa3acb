// Qwen2-MoE and Qwen1.5-MoE (A2.7B): Qwen2's attention, a mixture of experts, and beside it a shared expert behind a
// gate of its own (transformers' Qwen2MoeForCausalLM).
#include "lowrank/models/families/experts.h"
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 16, kDefaultWindow = 4096, kDefaultWindowLayers = 28;

// By layer_types; else in every other layer of the first max_window_layers, where use_sliding_window asks for it.
Windows read_windows(ConfigReader& keys, std::int64_t layers) {
  Windows windows(static_cast<std::size_t>(layers));
  const bool used = keys.boolean("use_sliding_window", false);
  std::optional<std::int64_t> window;
  if (used) window = read_window(keys, kDefaultWindow);
  keys.has("sliding_window");
  const std::int64_t first = keys.integer("max_window_layers", kDefaultWindowLayers, 0, kMaxWindow);
  std::vector<std::string> types;
  if (keys.has_value("layer_types")) types = read_layer_types(keys, layers, {"full_attention", "sliding_attention"});
  for (std::int64_t i = 0; i < layers; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const bool slides = types.empty() ? used && i % 2 == 0 && i < first : types[at] == "sliding_attention";
    if (!slides) continue;
    if (!window) {
      keys.at(types.empty() ? "use_sliding_window" : "layer_types")
          .fail("layer " + std::to_string(i) +
                " has sliding attention, but use_sliding_window and sliding_window give no window");
    }
    windows[at] = window;
  }
  std::vector<std::string> written;
  for (const auto& one : windows) written.emplace_back(one ? "sliding_attention" : "full_attention");
  keys.write("layer_types", written);
  keys.write("sliding_window", window ? core::Json(*window) : core::Json(nullptr));
  return windows;
}

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads)};
  parts.qkv_bias = keys.boolean("qkv_bias", true);
  parts.windows = read_windows(keys, config.layers);
  DecoderSpec spec = llama_blocks(keys, config, parts);
  const auto mlp = read_experts(keys, 60, 4);
  mlp->width = keys.integer("moe_intermediate_size", 1408, 1, kMaxIntermediate);
  mlp->activation = dense_mlp(spec).activation;
  mlp->routing = keys.boolean("norm_topk_prob", false) ? kernels::Router::kRenormalised : kernels::Router::kSoftmax;
  auto shared = std::make_shared<DenseMlpSpec>(dense_mlp(spec));
  shared->width = keys.integer("shared_expert_intermediate_size", 5632, 1, kMaxIntermediate);
  shared->scope = "shared_expert";
  mlp->shared = shared;
  set_sparse_layers(keys, mlp, spec);
  return spec;
}

}  // namespace

const Family& qwen2_moe_family() {
  static const Family family{.model_type = "qwen2_moe",
                             .architecture = "Qwen2MoeForCausalLM",
                             .describe = describe,
                             .default_max_positions = 32768};
  return family;
}

}  // namespace lowrank::models
