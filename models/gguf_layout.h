// What llama.cpp makes of a family.
#pragma once

#include "lowrank/lora/gguf_layout.h"
#include "lowrank/models/config.h"

namespace lowrank::models {

/// ModelError for a family whose tensors llama.cpp holds in a form of its own, or not at all.
lora::GgufLayout gguf_layout(const DecoderConfig& config);

}  // namespace lowrank::models
