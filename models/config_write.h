// Writing a model's configuration files; config_json is declared in config.h.
#pragma once

#include <string>

#include "lowrank/models/config.h"

namespace lowrank::models {

/// generation_config.json: the special ids, as transformers derives it from config.json.
std::string generation_config_json(const DecoderConfig& config);

}  // namespace lowrank::models
