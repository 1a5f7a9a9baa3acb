// LFM2: gated short convolutions and, here and there, attention with norms on every head of q and k; a gated MLP whose
// width follows from another by a rule (transformers' Lfm2ForCausalLM).
#include <cmath>
#include <memory>
#include <string>

#include "lowrank/models/blocks/short_conv.h"
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 8, kDefaultMultiple = 256;
constexpr double kDefaultEps = 1e-5, kDefaultTheta = 1e6;

std::vector<std::string> read_types(ConfigReader& keys, std::int64_t layers) {
  const std::string conv = "conv", full = "full_attention";
  std::vector<std::string> types(static_cast<std::size_t>(layers), full);
  if (keys.has_value("full_attn_idxs")) {
    const core::JsonView places = keys.at("full_attn_idxs");
    types.assign(types.size(), conv);
    for (std::size_t i = 0; i < places.size(); ++i) {
      types[static_cast<std::size_t>(places.at(i).as_int(0, layers - 1))] = full;
    }
  }
  if (keys.has_value("layer_types")) types = read_layer_types(keys, layers, {conv, full});
  keys.write("layer_types", types);
  return types;
}

// transformers' rule: two thirds of the stated width, times a factor, up to the next multiple.
std::int64_t read_width(ConfigReader& keys) {
  const char* key = keys.has_value("block_ff_dim") ? "block_ff_dim" : "intermediate_size";
  std::int64_t width = keys.at(key).as_int(1, kMaxIntermediate);
  keys.write("intermediate_size", width);
  const std::int64_t multiple = keys.integer("block_multiple_of", kDefaultMultiple, 1, kMaxIntermediate);
  const char* factor_key = "block_ffn_dim_multiplier";
  const bool none = keys.has(factor_key) && !keys.has_value(factor_key);
  const double factor = none ? 1 : keys.number(factor_key, 1.0);
  if (none) keys.write(factor_key, nullptr);
  if (!(factor > 0)) keys.at(factor_key).fail("must be greater than 0");
  if (!keys.boolean("block_auto_adjust_ff_dim", true)) return width;
  width = 2 * width / 3;
  if (none) return width;
  width = static_cast<std::int64_t>(factor * static_cast<double>(width));
  return multiple * ((width + multiple - 1) / multiple);
}

std::shared_ptr<const DenseMlpSpec> read_mlp(ConfigReader& keys) {
  auto mlp = std::make_shared<DenseMlpSpec>();
  mlp->width = read_width(keys);
  mlp->scope = "feed_forward";
  mlp->gate = "w1", mlp->up = "w3", mlp->down = "w2";
  return mlp;
}

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  const Heads heads = read_heads(keys, config, kDefaultKvHeads);
  const double eps = read_epsilon(keys, "norm_eps", kDefaultEps);
  const auto norm = [&](const char* name) { return NormSpec{NormSpec::Kind::kRms, name, eps}; };
  auto attention = std::make_shared<AttentionSpec>();
  attention->heads = heads.heads, attention->kv_heads = heads.kv_heads, attention->head_dim = heads.head_dim;
  attention->o = "out_proj";
  attention->q_norm = norm("q_layernorm"), attention->k_norm = norm("k_layernorm");
  attention->scale = 1 / std::sqrt(static_cast<double>(heads.head_dim));
  auto conv = std::make_shared<ShortConvSpec>();
  conv->taps = keys.integer("conv_L_cache", 3, 1, kMaxTaps);
  conv->bias = keys.boolean("conv_bias", false);
  // How its first weights were drawn, and what is said elsewhere too.
  for (const char* key :
       {"block_dim", "block_mlp_init_scale", "block_norm_eps", "block_out_init_scale", "block_use_swiglu",
        "block_use_xavier_init", "conv_dim", "conv_dim_out", "conv_use_xavier_init", "num_heads", "use_pos_enc"}) {
    keys.has(key);
  }
  const auto mlp = read_mlp(keys);

  DecoderSpec spec;
  spec.rotary = {read_rope(keys, config, heads.head_dim, {.default_theta = kDefaultTheta})};
  for (const std::string& type : read_types(keys, config.layers)) {
    LayerSpec layer{.mixer = attention, .mlp = mlp, .mixer_norm = norm("operator_norm"), .mlp_norm = norm("ffn_norm")};
    if (type == "conv") layer.mixer = conv;
    spec.layers.push_back(std::move(layer));
  }
  spec.final_norm = norm("embedding_norm");
  return spec;
}

}  // namespace

const Family& lfm2_family() {
  static const Family family{.model_type = "lfm2",
                             .architecture = "Lfm2ForCausalLM",
                             .describe = describe,
                             .default_max_positions = 128000,
                             .default_tied = true,
                             .spellings = {{"tie_word_embeddings", "tie_embedding"}}};
  return family;
}

}  // namespace lowrank::models
