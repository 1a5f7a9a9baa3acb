// The blocks of Qwen3.5's text, with dense MLPs.
#pragma once

#include <cstdint>

#include "lowrank/models/config_reader.h"
#include "lowrank/models/description.h"

namespace lowrank::models {

DecoderSpec qwen3_5_blocks(ConfigReader& keys, const DecoderConfig& config, std::int64_t default_kv_heads);

}  // namespace lowrank::models
