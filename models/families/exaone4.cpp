// EXAONE 4: norms after each branch only, and on every head of q and k; where there are windows, layers that see all do
// not turn (transformers' Exaone4ForCausalLM).
#include <string>

#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 32, kDefaultWindow = 4096, kFullEvery = 4;

// sliding_window_pattern is a number or letters ("LLLG"), which transformers reads only where there is no layer_types.
std::int64_t read_period(ConfigReader& keys, bool windows) {
  if (!windows) return 1;
  if (keys.has_value("layer_types") || !keys.has_value("sliding_window_pattern")) return kFullEvery;
  return keys.integer("sliding_window_pattern", kFullEvery, 1, kMaxLayers);
}

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads)};
  parts.norms = LlamaParts::Norms::kAfter;
  parts.qk_norm = true;
  parts.default_eps = 1e-5;
  keys.has("sliding_window_pattern");
  const std::optional<std::int64_t> window = read_window(keys, kDefaultWindow);
  const std::vector<std::string> types = read_sliding_types(keys, config.layers, read_period(keys, window.has_value()));
  parts.windows = windows_of(types, window);
  for (const auto& of_layer : parts.windows) {
    parts.rope_of_layer.push_back(of_layer || !window ? std::optional<std::size_t>(0) : std::nullopt);
  }
  return llama_blocks(keys, config, parts);
}

}  // namespace

const Family& exaone4_family() {
  static const Family family{.model_type = "exaone4", .architecture = "Exaone4ForCausalLM", .describe = describe};
  return family;
}

}  // namespace lowrank::models
