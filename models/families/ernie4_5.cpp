// ERNIE 4.5 without experts: Llama whose rotation turns neighbouring columns (transformers' Ernie4_5ForCausalLM).
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 2, kDefaultHeadDim = 128;

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads, kDefaultHeadDim)};
  parts.qkv_bias = parts.o_bias = parts.mlp_bias = keys.boolean("use_bias", false);
  parts.default_eps = 1e-5;
  parts.rope.interleaved = true;
  parts.rope.default_theta = 5e5;
  return llama_blocks(keys, config, parts);
}

}  // namespace

const Family& ernie4_5_family() {
  static const Family family{.model_type = "ernie4_5",
                             .architecture = "Ernie4_5ForCausalLM",
                             .describe = describe,
                             .default_max_positions = 131072,
                             .default_tied = true};
  return family;
}

}  // namespace lowrank::models
