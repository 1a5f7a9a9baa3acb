// Rotary positions as llama.cpp has them.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "lowrank/formats/gguf.h"
#include "lowrank/models/config.h"
#include "lowrank/models/gguf_architecture.h"
#include "lowrank/models/rotary_spec.h"

namespace lowrank::models {

struct GgufRope {
  formats::GgufValues values;
  std::vector<std::pair<std::string, at::Tensor>> factors;  // fp32 [width / 2]
  std::vector<std::string> notes;
};

/// Keys and factors of a rotation (null: none), and of the one that layers with a window have where that is another.
/// ModelError naming a rotation that llama.cpp does not compute.
GgufRope gguf_rope(const DecoderConfig& config, const RotarySpec* full, const RotarySpec* window,
                   const GgufArchitecture& architecture);

}  // namespace lowrank::models
