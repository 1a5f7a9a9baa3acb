// Qwen2 and Qwen2.5: Llama with biases on q, k and v, and windows by layer (transformers' Qwen2ForCausalLM).
#include <limits>

#include "lowrank/core/error.h"
#include "lowrank/models/families/family.h"

namespace lowrank::models {

void read_qwen_windows(const core::JsonView& json, DecoderConfig& config) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int32_t>::max();
  constexpr std::int64_t kDefaultWindow = 4096, kDefaultMaxWindowLayers = 28;
  const std::size_t layers = static_cast<std::size_t>(config.layers);

  std::optional<std::int64_t> window;
  if (json.get_bool("use_sliding_window", false)) {
    if (!json.has("sliding_window")) window = kDefaultWindow;
    if (json.has_value("sliding_window")) window = json.at("sliding_window").as_int(1, kMax);
  }
  config.windows.assign(layers, std::nullopt);
  if (!json.has_value("layer_types")) {
    const std::int64_t full = json.get_int("max_window_layers", kDefaultMaxWindowLayers, 0, kMax);
    for (std::size_t i = static_cast<std::size_t>(full); i < layers; ++i) config.windows[i] = window;
    return;
  }
  const core::JsonView types = json.at("layer_types");
  const std::vector<std::string> names = types.as_strings();
  if (names.size() != layers) {
    types.fail("names " + std::to_string(names.size()) + " layers, but num_hidden_layers is " + std::to_string(layers));
  }
  for (std::size_t i = 0; i < layers; ++i) {
    if (names[i] == "full_attention" || names[i] == "attention") continue;
    if (names[i] != "sliding_attention") {
      throw ModelError(types.where() + ": '" + names[i] + "' of layer " + std::to_string(i) +
                       " is not supported; known are full_attention and sliding_attention");
    }
    if (!window) {
      types.fail("layer " + std::to_string(i) +
                 " is sliding_attention, but use_sliding_window and sliding_window give "
                 "no window");
    }
    config.windows[i] = window;
  }
}

void write_qwen_windows(const DecoderConfig& config, core::Json& json) {
  std::optional<std::int64_t> window;
  std::vector<std::string> types;
  std::int64_t full_layers = 0;
  for (const auto& layer : config.windows) {
    types.emplace_back(layer ? "sliding_attention" : "full_attention");
    if (layer) window = layer;
    if (!window) ++full_layers;
  }
  json["layer_types"] = types;
  json["max_window_layers"] = full_layers;
  json["sliding_window"] = window ? core::Json(*window) : core::Json(nullptr);
  json["use_sliding_window"] = window.has_value();
}

namespace {

void read(const core::JsonView& json, DecoderConfig& config) {
  config.qkv_bias = true;  // always, whatever a config says
  read_qwen_windows(json, config);
}

}  // namespace

const Family& qwen2_family() {
  static const Family family{
      .model_type = "qwen2",
      .architecture = "Qwen2ForCausalLM",
      .keys = {"use_sliding_window", "sliding_window", "max_window_layers", "layer_types", "attention_bias"},
      .default_max_positions = 32768,
      .default_kv_heads = 32,
      .read = read,
      .write = write_qwen_windows};
  return family;
}

}  // namespace lowrank::models
