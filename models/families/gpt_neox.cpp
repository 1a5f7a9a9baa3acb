// GPT-NeoX and Pythia: LayerNorm, a plain MLP beside the attention, heads of which a part turns, one layer whose
// columns are of each head its query, key and value (transformers' GPTNeoXForCausalLM).
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {
namespace {

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts;
  parts.heads.heads = parts.heads.kv_heads = keys.integer("num_attention_heads", kMaxHeads);
  parts.heads.head_dim = config.hidden_size / parts.heads.heads;
  if (config.hidden_size % parts.heads.heads != 0) {
    keys.json().fail("hidden_size must be a multiple of num_attention_heads");
  }
  parts.qkv_bias = parts.o_bias = keys.boolean("attention_bias", true);
  parts.mlp_bias = true;
  parts.norm = NormSpec::Kind::kLayer;
  parts.norm_bias = true;
  parts.default_eps = 1e-5;
  parts.parallel = keys.boolean("use_parallel_residual", true);
  parts.attention.scope = "attention";
  parts.attention.fused = "query_key_value";
  parts.attention.fusion = AttentionSpec::Fusion::kByHead;
  parts.attention.o = "dense";
  parts.mlp.gate = "";
  parts.mlp.up = "dense_h_to_4h";
  parts.mlp.down = "dense_4h_to_h";
  parts.default_activation = "gelu";
  parts.rope.partial = true;
  parts.rope.default_partial = 0.25;
  DecoderSpec spec = llama_blocks(keys, config, parts);
  spec.prefix = "gpt_neox.";
  spec.embedding.name = "embed_in";
  spec.final_norm.name = "final_layer_norm";
  spec.head.stored_name = "embed_out";
  return spec;
}

}  // namespace

const Family& gpt_neox_family() {
  static const Family family{.model_type = "gpt_neox",
                             .architecture = "GPTNeoXForCausalLM",
                             .describe = describe,
                             .spellings = {{"rms_norm_eps", "layer_norm_eps"},
                                           {"rope_theta", "rotary_emb_base"},
                                           {"partial_rotary_factor", "rotary_pct"}}};
  return family;
}

}  // namespace lowrank::models
