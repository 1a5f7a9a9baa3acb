// GPT-2: LayerNorm, learned positions, a plain MLP, one layer for queries, keys and values; weights stored [in, out]
// (transformers' GPT2LMHeadModel and its Conv1D).
#include <cmath>
#include <memory>

#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {
namespace {

std::shared_ptr<AttentionSpec> attention_of(const Heads& heads) {
  auto attention = std::make_shared<AttentionSpec>();
  attention->heads = attention->kv_heads = heads.heads;
  attention->head_dim = heads.head_dim;
  attention->scope = "attn";
  attention->fused = "c_attn";
  attention->o = "c_proj";
  attention->qkv_bias = attention->o_bias = attention->transposed = true;
  attention->rotary.reset();
  return attention;
}

std::shared_ptr<DenseMlpSpec> mlp_of(ConfigReader& keys, const DecoderConfig& config) {
  auto mlp = std::make_shared<DenseMlpSpec>();
  const bool stated = keys.has_value("n_inner");
  mlp->width = stated ? keys.integer("n_inner", kMaxIntermediate) : 4 * config.hidden_size;
  if (!stated) keys.write("n_inner", nullptr);
  mlp->activation = read_activation(keys, "activation_function", "gelu_new");
  mlp->gate = "";
  mlp->up = "c_fc";
  mlp->down = "c_proj";
  mlp->bias = mlp->transposed = true;
  return mlp;
}

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  Heads heads;
  heads.heads = keys.integer("num_attention_heads", kMaxHeads);
  heads.head_dim = config.hidden_size / heads.heads;
  if (config.hidden_size % heads.heads != 0) keys.json().fail("n_embd must be a multiple of n_head");
  const double eps = read_epsilon(keys, "layer_norm_epsilon", 1e-5);
  const bool scaled = keys.boolean("scale_attn_weights", true);
  const bool by_layer = keys.boolean("scale_attn_by_inverse_layer_idx", false);
  keys.has("reorder_and_upcast_attn");  // rounds elsewhere in half precision: scores are fp32 here anyway
  const auto norm = [&](const char* name) { return NormSpec{NormSpec::Kind::kLayer, name, eps, /*bias=*/true}; };
  // "a modified initialization which accounts for the accumulation on the residual path with model depth"
  const double deviation = 1 / std::sqrt(2 * static_cast<double>(config.layers));

  DecoderSpec spec;
  spec.prefix = "transformer.";
  spec.layer_scope = "h";
  spec.embedding.name = "wte";
  spec.embedding.positions = "wpe";
  spec.embedding.position_rows = config.max_positions;
  const auto mlp = mlp_of(keys, config);
  mlp->down_deviation = deviation;
  for (std::int64_t i = 0; i < config.layers; ++i) {
    const auto attention = attention_of(heads);
    if (scaled) attention->scale = 1 / std::sqrt(static_cast<double>(heads.head_dim));
    if (by_layer) attention->scale /= static_cast<double>(i + 1);
    attention->o_deviation = deviation;
    spec.layers.push_back({.mixer = attention, .mlp = mlp, .mixer_norm = norm("ln_1"), .mlp_norm = norm("ln_2")});
  }
  spec.final_norm = norm("ln_f");
  return spec;
}

}  // namespace

const Family& gpt2_family() {
  static const Family family{.model_type = "gpt2",
                             .architecture = "GPT2LMHeadModel",
                             .describe = describe,
                             .default_max_positions = 1024,
                             .default_tied = true,
                             .spellings = {{"hidden_size", "n_embd"},
                                           {"num_hidden_layers", "n_layer"},
                                           {"num_attention_heads", "n_head"},
                                           {"max_position_embeddings", "n_positions"}}};
  return family;
}

}  // namespace lowrank::models
