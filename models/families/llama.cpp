// Llama 1 to 3.x and what shares its shape (SmolLM, TinyLlama, Yi …): transformers' LlamaForCausalLM.
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config)};
  parts.qkv_bias = parts.o_bias = keys.boolean("attention_bias", false);
  parts.mlp_bias = keys.boolean("mlp_bias", false);
  keys.write("pretraining_tp", 1);
  return llama_blocks(keys, config, parts);
}

}  // namespace

const Family& llama_family() {
  static const Family family{.model_type = "llama", .architecture = "LlamaForCausalLM", .describe = describe};
  return family;
}

}  // namespace lowrank::models
