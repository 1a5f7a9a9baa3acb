#include <algorithm>
#include <string>

#include "lowrank/models/families/parts.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {
namespace {

std::optional<std::int64_t> window_of(ConfigReader& keys) {
  constexpr std::int64_t kDefaultWindow = 4096;
  const bool stated = keys.has("sliding_window");
  if (!keys.boolean("use_sliding_window", false)) return std::nullopt;
  if (!stated) return kDefaultWindow;
  if (!keys.has_value("sliding_window")) return std::nullopt;
  return keys.at("sliding_window").as_int(1, kMaxWindow);
}

Windows windows_of(ConfigReader& keys, std::size_t layers) {
  constexpr std::int64_t kDefaultMaxWindowLayers = 28;
  const std::optional<std::int64_t> window = window_of(keys);
  Windows windows(layers);
  const bool counted = keys.has_value("max_window_layers");
  if (!keys.has_value("layer_types")) {
    const std::int64_t full = counted ? keys.at("max_window_layers").as_int(0, kMaxWindow) : kDefaultMaxWindowLayers;
    for (std::size_t i = static_cast<std::size_t>(full); i < layers; ++i) windows[i] = window;
    return windows;
  }
  const std::vector<std::string> names =
      read_layer_types(keys, static_cast<std::int64_t>(layers), {"full_attention", "sliding_attention", "attention"});
  for (std::size_t i = 0; i < layers; ++i) {
    if (names[i] != "sliding_attention") continue;
    if (!window) {
      keys.at("layer_types")
          .fail("layer " + std::to_string(i) +
                " is sliding_attention, but use_sliding_window and sliding_window give no window");
    }
    windows[i] = window;
  }
  return windows;
}

}  // namespace

Windows read_qwen_windows(ConfigReader& keys, std::int64_t layers) {
  Windows windows = windows_of(keys, static_cast<std::size_t>(layers));
  std::optional<std::int64_t> window;
  std::vector<std::string> types;
  for (const auto& layer : windows) {
    types.emplace_back(layer ? "sliding_attention" : "full_attention");
    if (layer) window = layer;
  }
  const auto first = std::find_if(windows.begin(), windows.end(), [](const auto& layer) { return layer.has_value(); });
  keys.write("layer_types", types);
  keys.write("max_window_layers", static_cast<std::int64_t>(first - windows.begin()));
  keys.write("sliding_window", window ? core::Json(*window) : core::Json(nullptr));
  keys.write("use_sliding_window", window.has_value());
  return windows;
}

}  // namespace lowrank::models
