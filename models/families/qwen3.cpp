// Qwen3: Llama with RMSNorm on every head of q and k before the rotation, an explicit head_dim, and windows by layer
// (transformers' Qwen3ForCausalLM).
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 32, kDefaultHeadDim = 128;

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads, kDefaultHeadDim)};
  parts.qkv_bias = parts.o_bias = keys.boolean("attention_bias", false);
  parts.qk_norm = true;
  parts.windows = read_qwen_windows(keys, config.layers);
  return llama_blocks(keys, config, parts);
}

}  // namespace

const Family& qwen3_family() {
  static const Family family{
      .model_type = "qwen3", .architecture = "Qwen3ForCausalLM", .describe = describe, .default_max_positions = 32768};
  return family;
}

}  // namespace lowrank::models
