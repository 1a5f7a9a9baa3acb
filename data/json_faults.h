// JSON with values that are none: NaN, half of a surrogate pair, NUL, bytes that are no UTF-8. A row may hold them in
// columns that nobody reads.
#pragma once

#include <string>
#include <string_view>

#include "lowrank/core/json.h"

namespace lowrank::data {

/// The JSON of a row. Where a number is NaN or too large for a double, it is that or infinite; where a text is broken,
/// a value of its own kind stands in its place, which is no text: who reads it gets an error that says what it holds.
/// In keys what is broken becomes U+FFFD. DataError beginning with `where`: JSON that is wrong.
core::Json parse_row(std::string_view text, const std::string& where);

/// The same row to be written out again: null for each fault. `changed`: whether there were any.
core::Json without_faults(core::Json row, bool& changed);

}  // namespace lowrank::data
