// Gemma 2: norms with 1 + w around both branches, soft caps on scores and logits, every other layer with a window, a
// scaled embedding (transformers' Gemma2ForCausalLM).
#include <cmath>
#include <string>

#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 4, kDefaultHeadDim = 256, kDefaultWindow = 4096, kDefaultScalar = 256;

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads, kDefaultHeadDim)};
  parts.qkv_bias = parts.o_bias = keys.boolean("attention_bias", false);
  parts.norm = NormSpec::Kind::kRmsPlusOne;
  parts.norms = LlamaParts::Norms::kAround;
  const std::vector<std::string> types = read_sliding_types(keys, config.layers, /*period=*/2);
  parts.windows = windows_of(types, read_window(keys, kDefaultWindow));
  const std::int64_t scalar = keys.integer("query_pre_attn_scalar", kDefaultScalar, 1, kMaxWidth);
  parts.scale = 1 / std::sqrt(static_cast<double>(scalar));
  parts.cap = read_cap(keys, "attn_logit_softcapping", 50);
  parts.activation_key = "hidden_activation";
  parts.default_activation = "gelu_pytorch_tanh";
  keys.has("hidden_act");  // in the files of the first models beside hidden_activation, and read by nobody
  DecoderSpec spec = llama_blocks(keys, config, parts);
  spec.embedding.scale = std::sqrt(static_cast<double>(config.hidden_size));
  spec.head.cap = read_cap(keys, "final_logit_softcapping", 30);
  return spec;
}

}  // namespace

const Family& gemma2_family() {
  static const Family family{.model_type = "gemma2",
                             .architecture = "Gemma2ForCausalLM",
                             .describe = describe,
                             .default_max_positions = 8192,
                             .default_tied = true};
  return family;
}

}  // namespace lowrank::models
