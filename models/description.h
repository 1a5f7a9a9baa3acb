// What a family makes of its config.json: the blocks of a decoder, as data.
#pragma once

#include <string>
#include <vector>

#include "lowrank/models/blocks/embedding.h"
#include "lowrank/models/blocks/head.h"
#include "lowrank/models/blocks/layer.h"
#include "lowrank/models/blocks/norm.h"
#include "lowrank/models/rotary_spec.h"

namespace lowrank::models {

struct DecoderConfig;

struct DecoderSpec {
  std::string prefix = "model.";  // of all names but the head's
  /// Those that weight files of the family are known with beside those that any may have (load.cpp).
  std::vector<std::string> stored_prefixes = {};
  /// A part of names that older files spell in another way, and how ("mlp", "block_sparse_moe"), dots around them.
  std::string own_spelling = {}, older_spelling = {};
  /// Whether PEFT takes the names of an expert's linear layers and of the router, among target_modules, for the
  /// parameters that transformers 5 has instead (peft's _MOE_TARGET_MODULE_MAPPING).
  bool converts_expert_targets = false;
  /// What a model that is saved has in place of `prefix`; empty: the same.
  std::string saved_prefix = "";
  std::string layer_scope = "layers";  // "layers.0." and so on
  EmbeddingSpec embedding;
  std::vector<LayerSpec> layers;
  NormSpec final_norm;
  std::string final_projection = "";  // a linear layer after it, to the table's columns ("project_out"); empty: none
  HeadSpec head;
  std::vector<RotarySpec> rotary;  // which its mixers name by place
  std::size_t shared_keys = 0;     // places of AttentionSpec::stores
  /// Modules inside `prefix` that files may have and nothing reads: keys of layers that read those of others.
  std::vector<std::string> unread = {};
};

/// Columns of the embedding's table, and of the hidden states that the head reads.
std::int64_t embedding_width(const DecoderConfig& config);
std::int64_t state_width(const DecoderConfig& config);

}  // namespace lowrank::models
