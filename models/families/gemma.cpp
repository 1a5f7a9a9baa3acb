// Gemma 1: Llama with norms of 1 + w, a scaled embedding and wide heads (transformers' GemmaForCausalLM).
#include <cmath>

#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 16, kDefaultHeadDim = 256;

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads, kDefaultHeadDim)};
  parts.qkv_bias = parts.o_bias = keys.boolean("attention_bias", false);
  parts.norm = NormSpec::Kind::kRmsPlusOne;
  parts.default_activation = "gelu_pytorch_tanh";
  keys.has("hidden_activation");  // read by nobody
  // "a legacy value of the official releases", which means the other
  if (keys.string("hidden_act", parts.default_activation) == "gelu") parts.activation = kernels::Activation::kGeluTanh;
  DecoderSpec spec = llama_blocks(keys, config, parts);
  spec.embedding.scale = std::sqrt(static_cast<double>(config.hidden_size));
  return spec;
}

}  // namespace

const Family& gemma_family() {
  static const Family family{.model_type = "gemma",
                             .architecture = "GemmaForCausalLM",
                             .describe = describe,
                             .default_max_positions = 8192,
                             .default_tied = true};
  return family;
}

}  // namespace lowrank::models
