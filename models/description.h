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

struct DecoderSpec {
  std::string prefix = "model.";  // of all names but the head's
  /// Those that weight files are known with; the first whose embedding is there is taken. Empty: `prefix` alone.
  std::vector<std::string> stored_prefixes = {};
  std::string layer_scope = "layers";  // "layers.0." and so on
  EmbeddingSpec embedding;
  std::vector<LayerSpec> layers;
  NormSpec final_norm;
  HeadSpec head;
  std::vector<RotarySpec> rotary;  // which its mixers name by place
};

}  // namespace lowrank::models
