// SmolLM3: Llama of which every fourth layer does not turn queries and keys (transformers' SmolLM3ForCausalLM).
#include <string>

#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 4, kDefaultInterval = 4;

// no_rope_layers: 1 for a layer that turns, 0 for one that does not; by no_rope_layer_interval where it is absent.
std::vector<bool> read_turning(ConfigReader& keys, std::int64_t layers) {
  const std::int64_t interval = keys.integer("no_rope_layer_interval", kDefaultInterval, 1, kMaxLayers);
  std::vector<bool> turning;
  std::vector<int> written;
  const bool stated = keys.has_value("no_rope_layers");
  if (stated && static_cast<std::int64_t>(keys.at("no_rope_layers").size()) < layers) {
    keys.at("no_rope_layers").fail("expected a 0 or 1 for each of num_hidden_layers");
  }
  for (std::int64_t i = 0; i < layers; ++i) {
    const bool turns =
        stated ? keys.at("no_rope_layers").at(static_cast<std::size_t>(i)).as_int(0, 1) == 1 : (i + 1) % interval != 0;
    turning.push_back(turns);
    written.push_back(turns ? 1 : 0);
  }
  keys.write("no_rope_layers", written);
  return turning;
}

Windows read_windows(ConfigReader& keys, std::int64_t layers, const std::vector<bool>& turning) {
  keys.has("max_window_layers");  // read by nobody
  const bool used = keys.boolean("use_sliding_window", false);
  const std::optional<std::int64_t> window = read_window(keys, std::nullopt);
  std::vector<std::string> types;
  for (const bool turns : turning) {
    types.emplace_back(used && window && !turns ? "sliding_attention" : "full_attention");
  }
  if (keys.has_value("layer_types")) {
    types = read_layer_types(keys, layers, {"full_attention", "sliding_attention"});
    for (std::size_t i = 0; i < types.size(); ++i) {
      if (types[i] == "full_attention" || (used && window)) continue;
      keys.at("layer_types")
          .fail("layer " + std::to_string(i) +
                " is sliding_attention, but use_sliding_window and sliding_window give no window");
    }
  }
  keys.write("layer_types", types);
  return windows_of(types, window);
}

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads)};
  parts.qkv_bias = parts.o_bias = keys.boolean("attention_bias", false);
  parts.mlp_bias = keys.boolean("mlp_bias", false);
  const std::vector<bool> turning = read_turning(keys, config.layers);
  parts.windows = read_windows(keys, config.layers, turning);
  for (const bool turns : turning) parts.rope_of_layer.push_back(turns ? std::optional<std::size_t>(0) : std::nullopt);
  parts.rope.default_theta = 2e6;
  return llama_blocks(keys, config, parts);
}

}  // namespace

const Family& smollm3_family() {
  static const Family family{.model_type = "smollm3",
                             .architecture = "SmolLM3ForCausalLM",
                             .describe = describe,
                             .default_max_positions = 32768,
                             .default_tied = true};
  return family;
}

}  // namespace lowrank::models
