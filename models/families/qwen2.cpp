// Qwen2 and Qwen2.5: Llama with biases on q, k and v, and windows by layer (transformers' Qwen2ForCausalLM).
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 32;

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads)};
  keys.has("attention_bias");  // passed over:
  parts.qkv_bias = true;       // always, whatever a config says
  parts.windows = read_qwen_windows(keys, config.layers);
  return llama_blocks(keys, config, parts);
}

}  // namespace

const Family& qwen2_family() {
  static const Family family{
      .model_type = "qwen2", .architecture = "Qwen2ForCausalLM", .describe = describe, .default_max_positions = 32768};
  return family;
}

}  // namespace lowrank::models
