// Emphasis on a terminal, and nothing where there is none.
#pragma once

#include <string>
#include <string_view>

namespace lowrank::apps {

bool stdout_is_terminal();
/// Columns of stdout: of its terminal, else of COLUMNS, else 80.
std::size_t stdout_columns();
/// stdout is a terminal that may be drawn on, and NO_COLOR is not set.
bool stdout_is_styled();
/// The text dimmed where stdout_is_styled(), else as it is. Until it is printed, three characters that no text has
/// (U+FDD0 to U+FDD2) stand for the terminal's codes, which no text may hold.
std::string dim(std::string_view text);
/// The text in bold where stdout_is_styled(), else as it is.
std::string bold(std::string_view text);
/// The terminal's codes where dim() and bold() left their marks. For what prints.
std::string with_styles(std::string text);

}  // namespace lowrank::apps
