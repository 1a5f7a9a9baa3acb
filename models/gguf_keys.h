// The hyperparameters of a model as llama.cpp has them: the values ARCHITECTURE.* of a GGUF file, and the tensors that
// stand for some of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "lowrank/formats/gguf.h"
#include "lowrank/models/config.h"

namespace lowrank::models {

struct GgufKeys {
  formats::GgufValues values;
  std::vector<std::pair<std::string, at::Tensor>> factors;  // of rotary frequencies, fp32: "rope_freqs.weight"
  std::vector<std::string> notes;                           // what llama.cpp does otherwise, in words
};

/// As llama.cpp's converter writes them (conversion/*.py), from what the family made of config.json. ModelError naming
/// what the architecture cannot hold: another activation, a rotation that it does not have, a bias for which it has no
/// tensor, and the like.
GgufKeys gguf_keys(const DecoderConfig& config);

}  // namespace lowrank::models
