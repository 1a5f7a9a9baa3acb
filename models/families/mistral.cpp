// Mistral 7B and Nemo: Llama with one sliding window for every layer, or none (transformers' MistralForCausalLM).
#include <limits>

#include "lowrank/core/error.h"
#include "lowrank/models/families/family.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultWindow = 4096;  // when the key is absent; null is no window

void read(const core::JsonView& json, DecoderConfig& config) {
  std::optional<std::int64_t> window = kDefaultWindow;
  if (json.has("sliding_window")) {
    window.reset();
    const core::JsonView value = json.at("sliding_window");
    if (!value.is_null()) window = value.as_int(1, std::numeric_limits<std::int32_t>::max());
  }
  config.windows.assign(static_cast<std::size_t>(config.layers), window);

  // transformers' Mistral passes layer_types over (its Ministral alternates); only what says the same may stand there.
  if (!json.has_value("layer_types")) return;
  const std::string expected = window ? "sliding_attention" : "full_attention";
  for (const std::string& type : json.at("layer_types").as_strings()) {
    if (type == expected) continue;
    throw ModelError(json.at("layer_types").where() + ": '" + type +
                     "' contradicts sliding_window, which makes every "
                     "layer of a mistral model '" +
                     expected + "'; layers that differ are not supported");
  }
}

void write(const DecoderConfig& config, core::Json& json) {
  const std::optional<std::int64_t> window = config.windows.empty() ? std::nullopt : config.windows.front();
  json["sliding_window"] = window ? core::Json(*window) : core::Json(nullptr);
}

}  // namespace

const Family& mistral_family() {
  static const Family family{.model_type = "mistral",
                             .architecture = "MistralForCausalLM",
                             .keys = {"sliding_window", "layer_types"},
                             .default_max_positions = 4096 * 32,
                             .default_kv_heads = 8,
                             .read = read,
                             .write = write};
  return family;
}

}  // namespace lowrank::models
