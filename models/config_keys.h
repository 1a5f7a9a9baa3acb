// The keys of config.json that no family asked for: which do nothing, and which would change the mathematics.
#pragma once

#include <functional>
#include <set>
#include <string>

#include "lowrank/core/json.h"
#include "lowrank/models/config.h"

namespace lowrank::models {

/// ModelError for a key outside `asked` that changes the mathematics and has a value that is not supported. Keys that
/// are in no table are put into config.unknown_keys, settings that are known and not applied (dropout) into
/// config.notes.
void check_unread_keys(const core::JsonView& json, const std::set<std::string, std::less<>>& asked,
                       DecoderConfig& config);

}  // namespace lowrank::models
