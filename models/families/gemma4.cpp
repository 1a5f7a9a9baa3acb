// Gemma 4's text: norms around both branches and on q, k and v; layers with a window and layers that see all, with
// heads and rotations of their own; the last layers read the keys and values of earlier ones; every layer has inputs of
// its own, and in the mixtures (26B-A4B) experts beside its MLP (transformers' Gemma4ForCausalLM, and the text part of
// Gemma4ForConditionalGeneration).
#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/models/blocks/parallel_experts.h"
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 4, kDefaultHeadDim = 256, kDefaultGlobalHeadDim = 512, kDefaultWindow = 512;
constexpr std::int64_t kFullEvery = 6, kDefaultPerLayer = 256, kDefaultPerLayerRows = 262144;
constexpr std::size_t kSliding = 0, kFull = 1;  // places of rotations and of shared keys

std::vector<std::size_t> read_types(ConfigReader& keys, std::int64_t layers) {
  std::vector<std::string> names = read_sliding_types(keys, layers, kFullEvery);
  if (names.back() != "full_attention") {
    keys.note("layer_types ends with sliding_attention, but the last layer is full_attention, as transformers has it");
    names.back() = "full_attention";
    keys.write("layer_types", names);
  }
  std::vector<std::size_t> types;
  for (const std::string& name : names) types.push_back(name == "full_attention" ? kFull : kSliding);
  return types;
}

// per_layer_config: {"5": {"head_dim": 512, "num_key_value_heads": 1}}, or, in the first files, keys for all full
// layers.
std::vector<Heads> read_heads_by_layer(ConfigReader& keys, const Heads& common, const std::vector<std::size_t>& types,
                                       bool keys_are_values) {
  std::vector<Heads> heads(types.size(), common);
  const bool global = keys.has_value("global_head_dim"), global_kv = keys.has_value("num_global_key_value_heads");
  core::Json written = core::Json::object();
  if (keys.has_value("per_layer_config")) {
    const core::JsonView layers = keys.at("per_layer_config");
    for (const std::string& key : layers.keys()) {
      std::size_t i = 0;
      const auto parsed = std::from_chars(key.data(), key.data() + key.size(), i);
      if (parsed.ec != std::errc() || parsed.ptr != key.data() + key.size() || i >= heads.size()) {
        layers.at(key).fail(fmt::format("is of no layer; expected a number below {}", heads.size()));
      }
      for (const std::string& own : layers.at(key).keys()) {
        if (own == "head_dim" || own == "num_key_value_heads") continue;
        throw ModelError(fmt::format("{}: only head_dim and num_key_value_heads may differ between layers",
                                     layers.at(key).at(own).where()));
      }
      heads[i].head_dim = layers.at(key).get_int("head_dim", common.head_dim, 1, kMaxHeadDim);
      heads[i].kv_heads = layers.at(key).get_int("num_key_value_heads", common.kv_heads, 1, kMaxHeads);
    }
  } else {
    for (std::size_t i = 0; i < types.size(); ++i) {
      if (types[i] != kFull) continue;
      heads[i].head_dim = global ? keys.at("global_head_dim").as_int(1, kMaxHeadDim) : kDefaultGlobalHeadDim;
      if (keys_are_values && global_kv) {
        heads[i].kv_heads = keys.at("num_global_key_value_heads").as_int(1, kMaxHeads);
      }
    }
  }
  for (std::size_t i = 0; i < heads.size(); ++i) {
    if (heads[i].heads % heads[i].kv_heads != 0) {
      keys.json().fail(fmt::format("layer {} has {} num_key_value_heads, which must divide num_attention_heads {}", i,
                                   heads[i].kv_heads, heads[i].heads));
    }
    if (heads[i].head_dim == common.head_dim && heads[i].kv_heads == common.kv_heads) continue;
    written[std::to_string(i)] = {{"head_dim", heads[i].head_dim}, {"num_key_value_heads", heads[i].kv_heads}};
  }
  keys.write("per_layer_config", written);
  return heads;
}

// The width of heads of a type: a rotation is of one width.
std::int64_t head_dim_of(ConfigReader& keys, std::size_t type, const std::vector<std::size_t>& types,
                         const std::vector<Heads>& heads) {
  std::int64_t width = 0;
  for (std::size_t i = 0; i < types.size(); ++i) {
    if (types[i] != type) continue;
    if (width != 0 && width != heads[i].head_dim) {
      keys.json().fail("layers of one type must have one head_dim");
    }
    width = heads[i].head_dim;
  }
  return width == 0 ? heads.front().head_dim : width;
}

// The layers whose keys and values later ones read: the last of each type before `first`.
std::vector<bool> storing(ConfigReader& keys, const std::vector<std::size_t>& types, std::size_t first) {
  std::vector<bool> stores(types.size(), false);
  for (std::size_t i = first; i < types.size(); ++i) {
    std::size_t from = first;
    while (from > 0 && types[from - 1] != types[i]) --from;
    if (from == 0) {
      keys.at("num_kv_shared_layers")
          .fail(fmt::format("leaves no layer of layer {}'s type that has keys and values of its own", i));
    }
    stores[from - 1] = true;
  }
  return stores;
}

// The experts of every layer; null where there are none.
std::shared_ptr<ParallelExpertsSpec> read_mixture(ConfigReader& keys, const kernels::Activation& activation, double eps) {
  for (const char* of_experts : {"num_experts", "top_k_experts", "moe_intermediate_size"}) keys.has(of_experts);
  if (!keys.boolean("enable_moe_block", false)) return nullptr;
  auto mlp = std::make_shared<ParallelExpertsSpec>();
  mlp->experts = keys.integer("num_experts", kMaxExperts);
  mlp->per_token = keys.integer("top_k_experts", mlp->experts);
  mlp->width = keys.integer("moe_intermediate_size", kMaxIntermediate);
  mlp->activation = activation;
  mlp->parts = {};
  mlp->router = "router";
  mlp->router_eps = eps;
  const auto norm = [&](const char* name) { return NormSpec{NormSpec::Kind::kWideRms, name, eps}; };
  mlp->dense_norm = norm("pre_feedforward_layernorm");
  mlp->dense_norm_after = norm("post_feedforward_layernorm_1");
  mlp->experts_norm = norm("pre_feedforward_layernorm_2");
  mlp->experts_norm_after = norm("post_feedforward_layernorm_2");
  return mlp;
}

std::shared_ptr<const MlpSpec> beside(const ParallelExpertsSpec& mixture, std::shared_ptr<const DenseMlpSpec> dense) {
  auto mlp = std::make_shared<ParallelExpertsSpec>(mixture);
  mlp->dense = std::move(dense);
  return mlp;
}

void refuse_unsupported(ConfigReader& keys) {
  if (!keys.has_value("use_bidirectional_attention")) return;
  const core::JsonView both_ways = keys.at("use_bidirectional_attention");
  if (both_ways.is_string() && both_ways.as_string() == "vision") return;  // of pictures only
  throw ModelError(both_ways.where() +
                   ": changes what a gemma4_text model computes and is not supported; expected null");
}

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  refuse_unsupported(keys);
  const Heads common = read_heads(keys, config, kDefaultKvHeads, kDefaultHeadDim);
  const bool bias = keys.boolean("attention_bias", false);
  const bool keys_are_values = keys.boolean("attention_k_eq_v", false);
  const bool wide = keys.boolean("use_double_wide_mlp", false);
  const std::int64_t shared = keys.integer("num_kv_shared_layers", 0, 0, config.layers - 1);
  const std::int64_t width = keys.integer("intermediate_size", kMaxIntermediate);
  const std::int64_t per_layer = keys.integer("hidden_size_per_layer_input", kDefaultPerLayer, 0, kMaxWidth);
  const double eps = read_epsilon(keys, "rms_norm_eps", 1e-6);
  const kernels::Activation activation = read_activation(keys, "hidden_activation", "gelu_pytorch_tanh");
  const std::shared_ptr<const ParallelExpertsSpec> mixture = read_mixture(keys, activation, eps);
  const std::optional<std::int64_t> window = read_window(keys, kDefaultWindow);
  const std::vector<std::size_t> types = read_types(keys, config.layers);
  const std::vector<Heads> heads = read_heads_by_layer(keys, common, types, keys_are_values);
  const auto norm = [&](const char* name) { return NormSpec{NormSpec::Kind::kWideRms, name, eps}; };
  const std::size_t first_shared = types.size() - static_cast<std::size_t>(shared);
  const std::vector<bool> stores = storing(keys, types, first_shared);

  DecoderSpec spec;
  spec.rotary = read_ropes(keys, config,
                           {{.type = "sliding_attention", .head_dim = head_dim_of(keys, kSliding, types, heads)},
                            {.type = "full_attention",
                             .head_dim = head_dim_of(keys, kFull, types, heads),
                             .default_theta = 1e6,
                             .absent = {{"rope_type", "proportional"}, {"partial_rotary_factor", 0.25}}}});
  spec.shared_keys = 2;
  for (std::size_t i = 0; i < types.size(); ++i) {
    auto attention = std::make_shared<AttentionSpec>();
    attention->heads = heads[i].heads, attention->kv_heads = heads[i].kv_heads, attention->head_dim = heads[i].head_dim;
    attention->qkv_bias = attention->o_bias = bias;
    attention->keys_are_values = keys_are_values && types[i] == kFull;
    attention->q_norm = norm("q_norm");
    if (types[i] == kSliding) attention->window = window;
    attention->rotary = types[i];
    if (i < first_shared) {
      attention->k_norm = norm("k_norm");
      attention->v_norm = {.kind = NormSpec::Kind::kWideRms, .name = "v_norm", .eps = eps, .weight = false};
      if (stores[i]) attention->stores = types[i];
    } else {
      attention->shares = types[i];
      for (const char* unread : {"k_proj", "v_proj", "k_norm", "v_norm"}) {
        spec.unread.push_back(fmt::format("layers.{}.self_attn.{}", i, unread));
      }
    }
    auto mlp = std::make_shared<DenseMlpSpec>();
    mlp->width = wide && i >= first_shared ? 2 * width : width;
    mlp->activation = activation;
    spec.layers.push_back({.mixer = attention,
                           .mlp = mixture == nullptr ? mlp : beside(*mixture, mlp),
                           .mixer_norm = norm("input_layernorm"),
                           .mlp_norm = mixture == nullptr ? norm("pre_feedforward_layernorm") : NormSpec{},
                           .mixer_norm_after = norm("post_attention_layernorm"),
                           .mlp_norm_after = norm("post_feedforward_layernorm"),
                           .per_layer = {per_layer, activation, norm("post_per_layer_input_norm")},
                           .scalar = true});
  }
  spec.embedding.scale = std::sqrt(static_cast<double>(config.hidden_size));
  spec.embedding.per_layer_width = per_layer;
  spec.embedding.per_layer_count = config.layers;
  spec.embedding.per_layer_rows = keys.integer("vocab_size_per_layer_input", kDefaultPerLayerRows, 1, kMaxVocabulary);
  spec.embedding.per_layer_norm = norm("per_layer_projection_norm");
  spec.final_norm = norm("norm");
  spec.head.cap = read_cap(keys, "final_logit_softcapping", 0);
  return spec;
}

}  // namespace

const Family& gemma4_text_family() {
  static const Family family{.model_type = "gemma4_text",
                             .architecture = "Gemma4ForCausalLM",
                             .describe = describe,
                             .default_max_positions = 131072,
                             .default_tied = true,
                             .defaults = {{"vocab_size", 262144},
                                          {"hidden_size", 2304},
                                          {"intermediate_size", 9216},
                                          {"num_hidden_layers", 30},
                                          {"num_attention_heads", 8}}};
  return family;
}

const Family& gemma4_family() {
  static const Family family{.model_type = "gemma4",
                             .architecture = "Gemma4ForConditionalGeneration",
                             .default_tied = true,
                             .text_type = "gemma4_text"};
  return family;
}

}  // namespace lowrank::models
