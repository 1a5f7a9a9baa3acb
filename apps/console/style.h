// Emphasis on a terminal, and nothing where there is none.
#pragma once

#include <string>
#include <string_view>

namespace lowrank::apps {

bool stdout_is_terminal();
/// stdout is a terminal that may be drawn on, and NO_COLOR is not set.
bool stdout_is_styled();
/// The text dimmed where stdout_is_styled(), else as it is.
std::string dim(std::string_view text);
/// The text in bold where stdout_is_styled(), else as it is.
std::string bold(std::string_view text);

}  // namespace lowrank::apps
