// Tables and commands as text.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lowrank::core {

/// Columns that a text takes on a terminal: code points (what we print has no wide or combining characters).
std::size_t width_of(std::string_view text);

/// Columns aligned: the first to the left, the others to the right; a rule under the header. A cell is one line, made
/// safe to show (core/visible.h).
std::string table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows);
/// Two columns "key   value", for the opening lines; a value is one line, made safe as a cell of a table is.
std::string fields(const std::vector<std::pair<std::string, std::string>>& rows);

/// An argument as a POSIX shell reads it back: as it is, or in single quotes.
std::string shell_quoted(const std::string& argument);

}  // namespace lowrank::core
