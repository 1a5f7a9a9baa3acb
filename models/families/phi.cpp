// Phi-1, 1.5 and 2: attention and a plain MLP side by side after one LayerNorm, biases everywhere, heads of which a
// part turns (transformers' PhiForCausalLM).
#include "lowrank/core/error.h"
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

constexpr double kDefaultEps = 1e-5;

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  if (config.tied && config.tied_stated) {
    throw ModelError(keys.at("tie_word_embeddings").where() +
                     ": true is not supported for a phi model, whose head has a bias of its own; expected false");
  }
  LlamaParts parts{.heads = read_heads(keys, config)};
  parts.qkv_bias = parts.o_bias = parts.mlp_bias = true;
  parts.norm = NormSpec::Kind::kLayer;
  parts.norm_bias = true;
  parts.default_eps = kDefaultEps;
  parts.parallel = parts.one_norm = true;
  parts.attention.o = "dense";
  if (keys.boolean("qk_layernorm", false)) {
    const double eps = read_epsilon(keys, "rms_norm_eps", kDefaultEps);
    parts.attention.q_norm = {NormSpec::Kind::kLayer, "q_layernorm", eps, /*bias=*/true};
    parts.attention.k_norm = {NormSpec::Kind::kLayer, "k_layernorm", eps, /*bias=*/true};
  }
  parts.mlp.gate = "";
  parts.mlp.up = "fc1";
  parts.mlp.down = "fc2";
  parts.default_activation = "gelu_new";
  parts.rope.partial = true;
  parts.rope.default_partial = 0.5;
  DecoderSpec spec = llama_blocks(keys, config, parts);
  spec.final_norm.name = "final_layernorm";
  spec.head.bias = true;
  return spec;
}

}  // namespace

const Family& phi_family() {
  static const Family family{.model_type = "phi",
                             .architecture = "PhiForCausalLM",
                             .describe = describe,
                             .spellings = {{"rms_norm_eps", "layer_norm_eps"}}};
  return family;
}

}  // namespace lowrank::models
