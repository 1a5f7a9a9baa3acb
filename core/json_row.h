// JSON as people's rows of data have it.
#pragma once

#include <string>
#include <string_view>

#include "lowrank/core/json.h"

namespace lowrank::core {

/// What stands in a row for a value that holds `what`, and so is none: who reads it gets an error that says so. Of no kind that JSON has.
Json faulty_value(std::string_view what);

/// parse_json() of a row of somebody's data, most of which nobody reads: what stands twice under one key is there as a value that no
/// accessor takes (faulty_value), so that only who reads it is refused; and it may be nested 512 deep.
Json parse_json_row(std::string_view text, const std::string& where);

}  // namespace lowrank::core
