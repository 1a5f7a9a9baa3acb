// Which process has a trial, and whether it still lives.
#pragma once

#include <optional>
#include <string>

#include "lowrank/core/json.h"

namespace lowrank::train {

/// {"host", "pid", "boot", "space", "start"} of this process: no two processes have the same.
core::Json this_owner();
/// "node-b, pid 4711"
std::string owner_name(const core::Json& owner);
/// Whether that process lives; nothing where it cannot be seen from here (another machine, another container).
std::optional<bool> owner_lives(const core::Json& owner);

}  // namespace lowrank::train
