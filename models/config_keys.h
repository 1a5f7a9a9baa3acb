// Which keys of config.json are read, which do nothing, and which would change the mathematics.
#pragma once

#include "lowrank/core/json.h"
#include "lowrank/models/families/family.h"

namespace lowrank::models {

/// ModelError for a key that changes the mathematics and has a value that is not supported. Keys that are in no table
/// are put into config.unknown_keys, settings that are known and not applied (dropout) into config.notes.
void check_config_keys(const core::JsonView& json, const Family& family, DecoderConfig& config);

}  // namespace lowrank::models
