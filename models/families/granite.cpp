// Granite 3: Llama with multipliers on the embedding, both branches, the scores and the logits (transformers'
// GraniteForCausalLM).
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config)};
  parts.qkv_bias = parts.o_bias = keys.boolean("attention_bias", false);
  parts.mlp_bias = keys.boolean("mlp_bias", false);
  parts.scale = read_multiplier(keys, "attention_multiplier");
  parts.residual_scale = read_multiplier(keys, "residual_multiplier");
  DecoderSpec spec = llama_blocks(keys, config, parts);
  spec.embedding.scale = read_multiplier(keys, "embedding_multiplier");
  spec.head.scale = 1 / read_multiplier(keys, "logits_scaling");
  return spec;
}

}  // namespace

const Family& granite_family() {
  static const Family family{.model_type = "granite", .architecture = "GraniteForCausalLM", .describe = describe};
  return family;
}

}  // namespace lowrank::models
