// StableLM 2 and 3B: Llama with LayerNorm, heads of which a part turns, and, in some, norms of every head of q and k of
// its own and both branches side by side (transformers' StableLmForCausalLM).
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 32;
constexpr double kDefaultEps = 1e-5;

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads)};
  parts.qkv_bias = keys.boolean("use_qkv_bias", false);
  parts.norm = NormSpec::Kind::kLayer;
  parts.norm_bias = true;
  parts.default_eps = kDefaultEps;
  parts.parallel = parts.one_norm = keys.boolean("use_parallel_residual", false);
  if (keys.boolean("qk_layernorm", false)) {
    const double eps = read_epsilon(keys, "rms_norm_eps", kDefaultEps);
    const auto by_head = [&](const char* name, std::int64_t heads) {
      return NormSpec{.kind = NormSpec::Kind::kLayer, .name = name, .eps = eps, .heads = heads};
    };
    parts.attention.q_norm = by_head("q_layernorm.norms", parts.heads.heads);
    parts.attention.k_norm = by_head("k_layernorm.norms", parts.heads.kv_heads);
  }
  parts.rope.partial = true;
  parts.rope.default_partial = 0.25;
  return llama_blocks(keys, config, parts);
}

}  // namespace

const Family& stablelm_family() {
  static const Family family{.model_type = "stablelm",
                             .architecture = "StableLmForCausalLM",
                             .describe = describe,
                             .default_max_positions = 4096,
                             .spellings = {{"rms_norm_eps", "layer_norm_eps"}}};
  return family;
}

}  // namespace lowrank::models
