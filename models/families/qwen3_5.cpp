// Qwen3.5's text: three layers of Gated DeltaNet, then one of gated attention; norms with 1 + w (transformers'
// Qwen3_5ForCausalLM, and the text part of Qwen3_5ForConditionalGeneration).
#include <string>

#include "lowrank/core/error.h"
#include "lowrank/models/blocks/gated_delta.h"
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"
#include "lowrank/models/families/qwen3_5.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultHeadDim = 256, kDefaultInterval = 4;

std::vector<std::string> read_types(ConfigReader& keys, std::int64_t layers) {
  const std::string linear = "linear_attention", full = "full_attention";
  const std::int64_t interval = keys.integer("full_attention_interval", kDefaultInterval, 1, kMaxLayers);
  std::vector<std::string> types;
  for (std::int64_t i = 0; i < layers; ++i) types.push_back((i + 1) % interval == 0 ? full : linear);
  if (keys.has_value("layer_types")) types = read_layer_types(keys, layers, {linear, full});
  keys.write("layer_types", types);
  return types;
}

std::shared_ptr<const GatedDeltaSpec> read_delta(ConfigReader& keys, double eps) {
  auto delta = std::make_shared<GatedDeltaSpec>();
  kernels::DeltaRuleShape& shape = delta->shape;
  shape.key_heads = keys.integer("linear_num_key_heads", 16, 1, kMaxHeads);
  shape.value_heads = keys.integer("linear_num_value_heads", 32, 1, kMaxHeads);
  shape.key_dim = keys.integer("linear_key_head_dim", 128, 1, kMaxHeadDim);
  shape.value_dim = keys.integer("linear_value_head_dim", 128, 1, kMaxHeadDim);
  if (shape.value_heads % shape.key_heads != 0) {
    keys.json().fail("linear_num_key_heads must divide linear_num_value_heads");
  }
  delta->taps = keys.integer("linear_conv_kernel_dim", 4, 1, kMaxTaps);
  delta->activation = read_activation(keys, "hidden_act", "silu");
  delta->eps = eps;
  return delta;
}

}  // namespace

DecoderSpec qwen3_5_blocks(ConfigReader& keys, const DecoderConfig& config, std::int64_t default_kv_heads) {
  LlamaParts parts{.heads = read_heads(keys, config, default_kv_heads, kDefaultHeadDim)};
  parts.qkv_bias = parts.o_bias = keys.boolean("attention_bias", false);
  parts.norm = NormSpec::Kind::kRmsPlusOne;
  parts.qk_norm = true;
  parts.attention.gate = true;
  parts.rope.partial = true;
  parts.rope.default_partial = 0.25;
  // A picture's rows and columns turn columns of their own; text has the same position in all three.
  parts.rope.passed_over = {"mrope_section", "mrope_interleaved"};
  // What the class does not read: dtypes of another implementation, the prediction of further tokens, mixtures.
  for (const char* key :
       {"mamba_ssm_dtype", "mtp_num_hidden_layers", "mtp_use_dedicated_embeddings", "mlp_only_layers"}) {
    keys.has(key);
  }
  if (!keys.boolean("attn_output_gate", true)) {
    throw ModelError(keys.at("attn_output_gate").where() +
                     ": transformers' qwen3_5 gates its attention whatever this says; expected true");
  }
  const std::vector<std::string> types = read_types(keys, config.layers);
  DecoderSpec spec = llama_blocks(keys, config, parts);
  const auto delta = read_delta(keys, spec.final_norm.eps);
  for (std::size_t i = 0; i < types.size(); ++i) {
    if (types[i] == "linear_attention") spec.layers[i].mixer = delta;
  }
  return spec;
}

const Family& qwen3_5_text_family() {
  static const Family family{.model_type = "qwen3_5_text",
                             .architecture = "Qwen3_5ForCausalLM",
                             .describe = [](ConfigReader& keys, const DecoderConfig& config) { return qwen3_5_blocks(keys, config, 4); },
                             .default_max_positions = 32768};
  return family;
}

const Family& qwen3_5_family() {
  static const Family family{
      .model_type = "qwen3_5", .architecture = "Qwen3_5ForConditionalGeneration", .text_type = "qwen3_5_text"};
  return family;
}

}  // namespace lowrank::models
