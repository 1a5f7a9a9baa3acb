// OPT: LayerNorm, learned positions that begin at row 2, a plain MLP; 350m alone norms what comes out of a branch with
// the residual stream, and has an embedding narrower than the model (transformers' OPTForCausalLM).
#include <cmath>
#include <memory>

#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kPositionOffset = 2;
constexpr double kEps = 1e-5;

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  const bool norm_before = keys.boolean("do_layer_norm_before", true);
  std::int64_t columns = config.hidden_size;  // of the embedding
  if (keys.has_value("word_embed_proj_dim")) columns = keys.integer("word_embed_proj_dim", kMaxWidth);
  const bool bias = keys.boolean("enable_bias", true);
  const bool affine = keys.boolean("layer_norm_elementwise_affine", true);
  const auto norm = [&](const char* name) { return NormSpec{NormSpec::Kind::kLayer, name, kEps, affine, affine}; };
  auto attention = std::make_shared<AttentionSpec>();
  attention->heads = attention->kv_heads = keys.integer("num_attention_heads", kMaxHeads);
  attention->head_dim = config.hidden_size / attention->heads;
  if (config.hidden_size % attention->heads != 0) {
    keys.json().fail("hidden_size must be a multiple of num_attention_heads");
  }
  attention->o = "out_proj";
  attention->qkv_bias = attention->o_bias = bias;
  attention->rotary.reset();
  attention->scale = 1 / std::sqrt(static_cast<double>(attention->head_dim));
  auto mlp = std::make_shared<DenseMlpSpec>();
  mlp->width = keys.integer("ffn_dim", kMaxIntermediate);
  mlp->activation = read_activation(keys, "activation_function", "relu");
  mlp->scope = mlp->gate = "";
  mlp->up = "fc1";
  mlp->down = "fc2";
  mlp->bias = bias;

  DecoderSpec spec;
  spec.prefix = "model.decoder.";
  spec.stored_prefixes = {"decoder."};
  spec.embedding.positions = "embed_positions";
  spec.embedding.position_rows = config.max_positions + kPositionOffset;
  spec.embedding.position_offset = kPositionOffset;
  if (columns != config.hidden_size) {
    spec.embedding.width = columns;
    spec.embedding.projection = "project_in";
    spec.final_projection = "project_out";
  }
  for (std::int64_t i = 0; i < config.layers; ++i) {
    spec.layers.push_back({.mixer = attention,
                           .mlp = mlp,
                           .mixer_norm = norm("self_attn_layer_norm"),
                           .mlp_norm = norm("final_layer_norm"),
                           .norm_sum = !norm_before});
  }
  const bool removed = keys.boolean("_remove_final_layer_norm", false);
  if (norm_before && !removed) spec.final_norm = norm("final_layer_norm");
  return spec;
}

}  // namespace

const Family& opt_family() {
  static const Family family{.model_type = "opt",
                             .architecture = "OPTForCausalLM",
                             .describe = describe,
                             .default_tied = true,
                             .spellings = {{"initializer_range", "init_std"}}};
  return family;
}

}  // namespace lowrank::models
