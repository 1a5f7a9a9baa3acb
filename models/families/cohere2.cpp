// Command R7B and A: both branches side by side after one LayerNorm without bias; three of four layers have a window,
// and only those turn, neighbouring columns together; scaled logits (transformers' Cohere2ForCausalLM).
#include <string>

#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultWindow = 4096, kFullEvery = 4;

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config)};
  parts.qkv_bias = parts.o_bias = keys.boolean("attention_bias", false);
  parts.norm = NormSpec::Kind::kLayer;
  parts.default_eps = 1e-5;
  parts.parallel = parts.one_norm = true;
  const std::int64_t period = keys.integer("sliding_window_pattern", kFullEvery, 1, kMaxLayers);
  const std::vector<std::string> types = read_sliding_types(keys, config.layers, period);
  parts.windows = windows_of(types, read_window(keys, kDefaultWindow));
  for (const auto& window : parts.windows) {
    parts.rope_of_layer.push_back(window ? std::optional<std::size_t>(0) : std::nullopt);
  }
  parts.rope.interleaved = true;
  DecoderSpec spec = llama_blocks(keys, config, parts);
  spec.head.scale = keys.number("logit_scale", 0.0625);
  return spec;
}

}  // namespace

const Family& cohere2_family() {
  static const Family family{.model_type = "cohere2",
                             .architecture = "Cohere2ForCausalLM",
                             .describe = describe,
                             .default_max_positions = 8192,
                             .default_tied = true,
                             .spellings = {{"rms_norm_eps", "layer_norm_eps"}}};
  return family;
}

}  // namespace lowrank::models
