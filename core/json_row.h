// JSON as people's rows of data have it.
#pragma once

#include <string>
#include <string_view>

#include "lowrank/core/json.h"

namespace lowrank::core {

/// parse_json() of a row of somebody's data, most of which nobody reads: what stands twice under one key is there as a value that no
/// accessor takes (binary, of what it is), so that only who reads it is refused; and it may be nested 512 deep.
Json parse_json_row(std::string_view text, const std::string& where);

}  // namespace lowrank::core
