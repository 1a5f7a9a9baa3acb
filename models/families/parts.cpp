#include "lowrank/models/families/parts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {

Heads read_heads(ConfigReader& keys, const DecoderConfig& config, std::int64_t default_kv_heads,
                 std::int64_t default_head_dim) {
  Heads result;
  result.heads = keys.integer("num_attention_heads", kMaxHeads);
  result.kv_heads = result.heads;
  if (keys.has_value("num_key_value_heads")) {
    result.kv_heads = keys.integer("num_key_value_heads", kMaxHeads);
  } else if (!keys.has("num_key_value_heads") && default_kv_heads != 0) {
    result.kv_heads = default_kv_heads;
  }
  if (result.heads % result.kv_heads != 0) {
    keys.json().fail(
        fmt::format("num_key_value_heads {} must divide num_attention_heads {}", result.kv_heads, result.heads));
  }
  if (keys.has_value("head_dim")) {
    result.head_dim = keys.integer("head_dim", kMaxHeadDim);
  } else if (!keys.has("head_dim") && default_head_dim != 0) {
    result.head_dim = default_head_dim;
  } else if (config.hidden_size % result.heads != 0) {
    keys.json().fail(fmt::format("hidden_size {} is not a multiple of num_attention_heads {} and there is no head_dim",
                                 config.hidden_size, result.heads));
  } else {
    result.head_dim = config.hidden_size / result.heads;
  }
  keys.write("num_key_value_heads", result.kv_heads);
  keys.write("head_dim", result.head_dim);
  return result;
}

double read_epsilon(ConfigReader& keys, const char* key, double fallback) {
  const double value = keys.number(key, fallback);
  if (!(value >= 0)) keys.at(key).fail("must not be negative");
  return value;
}

double read_multiplier(ConfigReader& keys, const char* key) {
  const double value = keys.number(key, 1);
  if (!(value > 0)) keys.at(key).fail("must be greater than 0");
  return value;
}

std::optional<std::int64_t> read_window(ConfigReader& keys, std::optional<std::int64_t> fallback) {
  std::optional<std::int64_t> window = fallback;
  if (keys.has("sliding_window")) {
    window.reset();
    if (keys.has_value("sliding_window")) window = keys.at("sliding_window").as_int(1, kMaxWindow);
  }
  keys.write("sliding_window", window ? core::Json(*window) : core::Json(nullptr));
  return window;
}

Windows read_only_window(ConfigReader& keys, std::int64_t layers, std::optional<std::int64_t> fallback) {
  const std::optional<std::int64_t> window = read_window(keys, fallback);
  Windows windows(static_cast<std::size_t>(layers), window);
  if (!keys.has_value("layer_types")) return windows;
  const std::string every = window ? "sliding_attention" : "full_attention";
  for (const std::string& type : read_layer_types(keys, layers, {"full_attention", "sliding_attention"})) {
    if (type == every) continue;
    keys.note(fmt::format("layer_types has {}, but sliding_window makes every layer {}, as transformers reads it", type,
                          every));
    break;
  }
  return windows;
}

std::vector<std::string> read_layer_types(ConfigReader& keys, std::int64_t layers,
                                          const std::vector<std::string>& known) {
  const core::JsonView types = keys.at("layer_types");
  std::vector<std::string> names = types.as_strings();
  if (static_cast<std::int64_t>(names.size()) != layers) {
    types.fail(fmt::format("names {} layers, but num_hidden_layers is {}", names.size(), layers));
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (std::find(known.begin(), known.end(), names[i]) != known.end()) continue;
    throw ModelError(fmt::format("{}: '{}' of layer {} is not supported; known are {}", types.where(),
                                 core::printable(names[i]), i, fmt::join(known, " and ")));
  }
  return names;
}

std::vector<std::string> read_sliding_types(ConfigReader& keys, std::int64_t layers, std::int64_t period) {
  const std::string sliding = "sliding_attention", full = "full_attention";
  std::vector<std::string> types;
  for (std::int64_t i = 0; i < layers; ++i) types.push_back((i + 1) % period == 0 ? full : sliding);
  if (keys.has_value("layer_types")) types = read_layer_types(keys, layers, {full, sliding});
  keys.write("layer_types", types);
  return types;
}

Windows windows_of(const std::vector<std::string>& types, std::optional<std::int64_t> window) {
  Windows windows;
  for (const std::string& type : types) windows.push_back(type == "sliding_attention" ? window : std::nullopt);
  return windows;
}

double read_cap(ConfigReader& keys, const char* key, double fallback) {
  if (keys.has(key) && !keys.has_value(key)) {
    keys.write(key, nullptr);
    return 0;
  }
  if (fallback == 0 && !keys.has_value(key)) return 0;
  const double cap = keys.number(key, fallback);
  if (!(cap > 0)) keys.at(key).fail("must be greater than 0, or null for none");
  return cap;
}

kernels::Activation read_activation(ConfigReader& keys, const char* key, const char* fallback) {
  const std::string name = keys.string(key, fallback);
  if (const auto found = kernels::find_activation(name)) return *found;
  throw ModelError(
      fmt::format("{}: the activation '{}' is not supported; transformers' silu, gelu, gelu_new, "
                  "gelu_pytorch_tanh, gelu_fast, quick_gelu, relu and relu2 are",
                  keys.at(key).where(), core::printable(name)));
}

namespace {

std::shared_ptr<const AttentionSpec> llama_attention(const LlamaParts& parts, std::size_t layer, double eps) {
  auto attention = std::make_shared<AttentionSpec>(parts.attention);
  attention->heads = parts.heads.heads;
  attention->kv_heads = parts.heads.kv_heads;
  attention->head_dim = parts.heads.head_dim;
  attention->qkv_bias = parts.qkv_bias;
  attention->o_bias = parts.o_bias;
  attention->scale = parts.scale != 0 ? parts.scale : 1 / std::sqrt(static_cast<double>(parts.heads.head_dim));
  attention->cap = parts.cap;
  if (parts.fused) attention->fused = "qkv_proj";
  if (parts.qk_norm) attention->q_norm = {parts.norm, "q_norm", eps}, attention->k_norm = {parts.norm, "k_norm", eps};
  if (!parts.windows.empty()) attention->window = parts.windows[layer];
  if (!parts.rope_of_layer.empty()) attention->rotary = parts.rope_of_layer[layer];
  return attention;
}

}  // namespace

DecoderSpec llama_blocks(ConfigReader& keys, const DecoderConfig& config, const LlamaParts& parts) {
  auto mlp = std::make_shared<DenseMlpSpec>(parts.mlp);
  mlp->width = keys.integer("intermediate_size", kMaxIntermediate);
  mlp->activation =
      parts.activation ? *parts.activation : read_activation(keys, parts.activation_key, parts.default_activation);
  mlp->bias = parts.mlp_bias;
  if (parts.fused) mlp->fused = "gate_up_proj";
  const double eps = read_epsilon(keys, "rms_norm_eps", parts.default_eps);
  keys.write("attention_dropout", 0.0);
  const auto norm = [&](const char* name) { return NormSpec{parts.norm, name, eps, parts.norm_bias}; };

  DecoderSpec spec;
  spec.rotary = parts.ropes;
  if (spec.rotary.empty()) spec.rotary = {read_rope(keys, config, parts.heads.head_dim, parts.rope)};
  for (std::int64_t i = 0; i < config.layers; ++i) {
    LayerSpec layer{.mixer = llama_attention(parts, static_cast<std::size_t>(i), eps),
                    .mlp = mlp,
                    .mixer_norm = norm("input_layernorm"),
                    .mlp_norm = norm("post_attention_layernorm"),
                    .parallel = parts.parallel,
                    .residual_scale = parts.residual_scale};
    if (parts.one_norm) layer.mlp_norm = {};
    if (parts.norms != LlamaParts::Norms::kBefore) {
      layer.mixer_norm_after = norm("post_attention_layernorm");
      layer.mlp_norm = norm("pre_feedforward_layernorm");
      layer.mlp_norm_after = norm("post_feedforward_layernorm");
    }
    if (parts.norms == LlamaParts::Norms::kAfter) layer.mixer_norm = layer.mlp_norm = {};
    spec.layers.push_back(std::move(layer));
  }
  spec.final_norm = norm("norm");
  return spec;
}

}  // namespace lowrank::models
