// OLMo 2: norms after each branch only, and over all heads of q and k together (transformers' Olmo2ForCausalLM); OLMo
// 3: three of four layers with a window and a rotation of their own (Olmo3ForCausalLM).
#include <string>

#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultWindow = 4096, kFullEvery = 4;

LlamaParts shared_parts(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config)};
  parts.qkv_bias = parts.o_bias = keys.boolean("attention_bias", false);
  parts.norm = NormSpec::Kind::kWideRms;
  parts.norms = LlamaParts::Norms::kAfter;
  parts.qk_norm = true;
  parts.attention.norms_whole_width = true;
  parts.default_eps = 1e-5;
  return parts;
}

DecoderSpec describe_olmo2(ConfigReader& keys, const DecoderConfig& config) {
  return llama_blocks(keys, config, shared_parts(keys, config));
}

DecoderSpec describe_olmo3(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts = shared_parts(keys, config);
  const std::vector<std::string> types = read_sliding_types(keys, config.layers, kFullEvery);
  parts.windows = windows_of(types, read_window(keys, kDefaultWindow));
  // An older file's rope_theta is that of the full layers alone.
  parts.ropes = read_ropes(keys, config,
                           {{.type = "sliding_attention", .head_dim = parts.heads.head_dim, .default_theta = 5e5},
                            {.type = "full_attention",
                             .head_dim = parts.heads.head_dim,
                             .default_theta = 5e5,
                             .theta_key = "rope_theta",
                             .scaled = true}});
  for (const std::string& type : types) parts.rope_of_layer.emplace_back(type == "full_attention" ? 1 : 0);
  return llama_blocks(keys, config, parts);
}

}  // namespace

const Family& olmo2_family() {
  static const Family family{.model_type = "olmo2", .architecture = "Olmo2ForCausalLM", .describe = describe_olmo2};
  return family;
}

const Family& olmo3_family() {
  static const Family family{.model_type = "olmo3", .architecture = "Olmo3ForCausalLM", .describe = describe_olmo3};
  return family;
}

}  // namespace lowrank::models
