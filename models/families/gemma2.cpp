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

// A soft cap: a number, null for none, or absent for the default.
double read_cap(ConfigReader& keys, const char* key, double fallback) {
  if (keys.has(key) && !keys.has_value(key)) {
    keys.write(key, nullptr);
    return 0;
  }
  const double cap = keys.number(key, fallback);
  if (!(cap > 0)) keys.at(key).fail("must be greater than 0, or null for none");
  return cap;
}

Windows read_windows(ConfigReader& keys, std::int64_t layers) {
  const std::string sliding = "sliding_attention", full = "full_attention";
  std::vector<std::string> types;
  for (std::int64_t i = 0; i < layers; ++i) types.push_back(i % 2 == 0 ? sliding : full);
  if (keys.has_value("layer_types")) types = read_layer_types(keys, layers, {full, sliding});
  keys.write("layer_types", types);
  const std::optional<std::int64_t> window = read_window(keys, kDefaultWindow);
  Windows windows;
  for (const std::string& type : types) windows.push_back(type == sliding ? window : std::nullopt);
  return windows;
}

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads, kDefaultHeadDim)};
  parts.qkv_bias = parts.o_bias = keys.boolean("attention_bias", false);
  parts.norm = NormSpec::Kind::kRmsPlusOne;
  parts.sandwich = true;
  parts.windows = read_windows(keys, config.layers);
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
