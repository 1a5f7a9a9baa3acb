// Hunyuan without experts: Llama with norms on every head of q and k after the rotation (transformers'
// HunYuanDenseV1ForCausalLM).
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config)};
  parts.qkv_bias = parts.o_bias = keys.boolean("attention_bias", false);
  parts.default_eps = 1e-5;
  const double eps = read_epsilon(keys, "rms_norm_eps", parts.default_eps);
  parts.attention.q_norm = {NormSpec::Kind::kRms, "query_layernorm", eps};
  parts.attention.k_norm = {NormSpec::Kind::kRms, "key_layernorm", eps};
  parts.attention.norms_after_rotation = true;
  keys.has("use_qk_norm");  // read by nobody
  parts.rope.alpha = true;
  return llama_blocks(keys, config, parts);
}

}  // namespace

const Family& hunyuan_v1_dense_family() {
  static const Family family{
      .model_type = "hunyuan_v1_dense", .architecture = "HunYuanDenseV1ForCausalLM", .describe = describe};
  return family;
}

}  // namespace lowrank::models
