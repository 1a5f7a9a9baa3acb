// Mistral 7B and Nemo: Llama with one sliding window for every layer, or none (transformers' MistralForCausalLM).
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultWindow = 4096;  // when the key is absent; null is no window
constexpr std::int64_t kDefaultKvHeads = 8;

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads)};
  parts.windows = read_only_window(keys, config.layers, kDefaultWindow);
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
