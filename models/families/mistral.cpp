// Mistral 7B and Nemo: Llama with one sliding window for every layer, or none (transformers' MistralForCausalLM).
#include "lowrank/core/error.h"
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultWindow = 4096;  // when the key is absent; null is no window
constexpr std::int64_t kDefaultKvHeads = 8;

std::optional<std::int64_t> read_only_window(ConfigReader& keys) {
  const std::optional<std::int64_t> window = read_window(keys, kDefaultWindow);
  // transformers' Mistral passes layer_types over (its Ministral alternates); only what says the same may stand there.
  if (!keys.has_value("layer_types")) return window;
  const std::string expected = window ? "sliding_attention" : "full_attention";
  for (const std::string& type : keys.at("layer_types").as_strings()) {
    if (type == expected) continue;
    throw ModelError(keys.at("layer_types").where() + ": '" + type +
                     "' contradicts sliding_window, which makes every "
                     "layer of a mistral model '" +
                     expected + "'; layers that differ are not supported");
  }
  return window;
}

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads)};
  parts.windows.assign(static_cast<std::size_t>(config.layers), read_only_window(keys));
  return llama_blocks(keys, config, parts);
}

}  // namespace

const Family& mistral_family() {
  static const Family family{.model_type = "mistral",
                             .architecture = "MistralForCausalLM",
                             .describe = describe,
                             .default_max_positions = 4096 * 32};
  return family;
}

}  // namespace lowrank::models
