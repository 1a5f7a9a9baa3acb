// Ministral 3: Mistral whose queries grow with their positions (transformers' Ministral3ForCausalLM); and the text part
// of Mistral Small 3.1 and on and of Ministral 3 with pictures (Mistral3ForConditionalGeneration).
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 8, kDefaultHeadDim = 128;

const core::Json& default_rope() {
  static const core::Json rope = {{"rope_type", "yarn"},
                                  {"rope_theta", 1e6},
                                  {"factor", 16.0},
                                  {"original_max_position_embeddings", 16384},
                                  {"beta_fast", 32.0},
                                  {"beta_slow", 1.0},
                                  {"mscale_all_dim", 1.0},
                                  {"mscale", 1.0},
                                  {"llama_4_scaling_beta", 0.1}};
  return rope;
}

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads, kDefaultHeadDim)};
  parts.default_eps = 1e-5;
  parts.windows = read_only_window(keys, config.layers, std::nullopt);
  parts.rope.query_growth = true;
  parts.rope.absent = default_rope();
  return llama_blocks(keys, config, parts);
}

}  // namespace

const Family& ministral3_family() {
  static const Family family{.model_type = "ministral3",
                             .architecture = "Ministral3ForCausalLM",
                             .describe = describe,
                             .default_max_positions = 262144};
  return family;
}

const Family& mistral3_family() {
  static const Family family{.model_type = "mistral3",
                             .architecture = "Mistral3ForConditionalGeneration",
                             .default_tied = true,
                             .text_type = "mistral"};
  return family;
}

}  // namespace lowrank::models
