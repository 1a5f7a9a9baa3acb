// Phi-3, Phi-3.5, Phi-4 and Phi-4-mini: Llama with one layer for queries, keys and values and one for gate and up,
// heads of which a part turns, and longrope (transformers' Phi3ForCausalLM).
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultPositions = 4096;

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config)};
  parts.fused = true;
  parts.default_eps = 1e-5;
  parts.windows.assign(static_cast<std::size_t>(config.layers), read_window(keys, std::nullopt));
  parts.rope = {.partial = true,
                .default_original = kDefaultPositions,
                .synonyms = {{"su", "longrope"}, {"yarn", "longrope"}}};  // names of its first versions
  return llama_blocks(keys, config, parts);
}

}  // namespace

const Family& phi3_family() {
  static const Family family{.model_type = "phi3",
                             .architecture = "Phi3ForCausalLM",
                             .describe = describe,
                             .default_max_positions = kDefaultPositions};
  return family;
}

}  // namespace lowrank::models
