// JSON as Python's json.dumps writes it without ensure_ascii.
#pragma once

#include <string>

#include "lowrank/core/json.h"

namespace lowrank::data {

/// ", " and ": " between, characters as they are; numbers as nlohmann::json writes them.
std::string python_json(const core::Json& value);

}  // namespace lowrank::data
