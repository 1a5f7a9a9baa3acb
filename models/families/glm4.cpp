// GLM-4 0414: norms around both branches, one layer for gate and up, heads of which half turns, neighbouring columns
// together (transformers' Glm4ForCausalLM).
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 2, kDefaultHeadDim = 128;

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads, kDefaultHeadDim)};
  parts.qkv_bias = keys.boolean("attention_bias", true);
  parts.default_eps = 1.5625e-7;
  parts.mlp.fused = "gate_up_proj";
  parts.rope.interleaved = parts.rope.partial = true;
  parts.rope.default_partial = 0.5;
  DecoderSpec spec = llama_blocks(keys, config, parts);
  for (LayerSpec& layer : spec.layers) {
    layer.mixer_norm_after = layer.mlp_norm_after = layer.mixer_norm;
    layer.mixer_norm_after.name = "post_self_attn_layernorm";
    layer.mlp_norm_after.name = "post_mlp_layernorm";
  }
  return spec;
}

}  // namespace

const Family& glm4_family() {
  static const Family family{
      .model_type = "glm4", .architecture = "Glm4ForCausalLM", .describe = describe, .default_max_positions = 131072};
  return family;
}

}  // namespace lowrank::models
