// Gemma 3's text: Gemma 2 with norms on every head of q and k and without caps on scores, every sixth layer seeing all,
// with a rotation of its own (transformers' Gemma3ForCausalLM, and the text part of Gemma3ForConditionalGeneration).
#include <cmath>
#include <string>

#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 4, kDefaultHeadDim = 256, kDefaultWindow = 4096, kDefaultScalar = 256;
constexpr std::int64_t kDefaultPattern = 6;

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads, kDefaultHeadDim)};
  parts.qkv_bias = parts.o_bias = keys.boolean("attention_bias", false);
  parts.norm = NormSpec::Kind::kRmsPlusOne;
  parts.norms = LlamaParts::Norms::kAround;
  parts.qk_norm = true;
  keys.has("_sliding_window_pattern");  // as transformers kept it: beside it stands layer_types
  const std::int64_t period = keys.integer("sliding_window_pattern", kDefaultPattern, 1, kMaxLayers);
  const std::vector<std::string> types = read_sliding_types(keys, config.layers, period);
  parts.windows = windows_of(types, read_window(keys, kDefaultWindow));
  parts.ropes = read_ropes(keys, config,
                           {{.type = "sliding_attention",
                             .head_dim = parts.heads.head_dim,
                             .default_theta = 1e4,
                             .theta_key = "rope_local_base_freq"},
                            {.type = "full_attention",
                             .head_dim = parts.heads.head_dim,
                             .default_theta = 1e6,
                             .theta_key = "rope_theta",
                             .scaled = true}});
  for (const std::string& type : types) parts.rope_of_layer.emplace_back(type == "full_attention" ? 1 : 0);
  const std::int64_t scalar = keys.integer("query_pre_attn_scalar", kDefaultScalar, 1, kMaxWidth);
  parts.scale = 1 / std::sqrt(static_cast<double>(scalar));
  parts.activation_key = "hidden_activation";
  parts.default_activation = "gelu_pytorch_tanh";
  keys.has("hidden_act");  // read by nobody
  DecoderSpec spec = llama_blocks(keys, config, parts);
  spec.embedding.scale = std::sqrt(static_cast<double>(config.hidden_size));
  spec.head.cap = read_cap(keys, "final_logit_softcapping", 0);
  return spec;
}

}  // namespace

const Family& gemma3_text_family() {
  static const Family family{.model_type = "gemma3_text",
                             .architecture = "Gemma3ForCausalLM",
                             .describe = describe,
                             .default_max_positions = 131072,
                             .default_tied = true,
                             .defaults = {{"vocab_size", 262208},  // configs of models with pictures leave these out
                                          {"hidden_size", 2304},
                                          {"intermediate_size", 9216},
                                          {"num_hidden_layers", 26},
                                          {"num_attention_heads", 8}}};
  return family;
}

const Family& gemma3_family() {
  static const Family family{.model_type = "gemma3",
                             .architecture = "Gemma3ForConditionalGeneration",
                             .default_tied = true,
                             .text_type = "gemma3_text"};
  return family;
}

}  // namespace lowrank::models
