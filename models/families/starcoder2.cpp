// StarCoder 2: Llama with LayerNorm, biases, a plain MLP under GPT-2's names, and one window for every layer or none
// (transformers' Starcoder2ForCausalLM).
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 2;

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads)};
  parts.qkv_bias = parts.o_bias = parts.mlp_bias = keys.boolean("use_bias", true);
  parts.norm = NormSpec::Kind::kLayer;
  parts.norm_bias = true;
  parts.default_eps = 1e-5;
  parts.windows = read_only_window(keys, config.layers, std::nullopt);
  parts.mlp.gate = "";
  parts.mlp.up = "c_fc";
  parts.mlp.down = "c_proj";
  parts.default_activation = "gelu_pytorch_tanh";
  return llama_blocks(keys, config, parts);
}

}  // namespace

const Family& starcoder2_family() {
  static const Family family{.model_type = "starcoder2",
                             .architecture = "Starcoder2ForCausalLM",
                             .describe = describe,
                             .default_max_positions = 4096,
                             .default_tied = true,
                             .spellings = {{"rms_norm_eps", "norm_epsilon"}}};
  return family;
}

}  // namespace lowrank::models
