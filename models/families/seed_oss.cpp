// Seed-OSS: Llama with biases on q, k and v and, apart from those, perhaps on the attention's output (transformers'
// SeedOssForCausalLM).
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 8, kDefaultHeadDim = 128;

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads, kDefaultHeadDim)};
  parts.qkv_bias = keys.boolean("attention_bias", true);
  parts.o_bias = keys.boolean("attention_out_bias", false);
  parts.mlp_bias = keys.boolean("mlp_bias", false);
  return llama_blocks(keys, config, parts);
}

}  // namespace

const Family& seed_oss_family() {
  static const Family family{.model_type = "seed_oss",
                             .architecture = "SeedOssForCausalLM",
                             .describe = describe,
                             .default_max_positions = 524288};
  return family;
}

}  // namespace lowrank::models
