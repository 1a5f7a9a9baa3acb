// Lines as wide as the terminal.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lowrank::apps {

/// A text in lines of at most `columns`, the second and further ones after `indent` blanks. What stands between backticks stays in one
/// piece, to be copied.
std::string wrapped(const std::string& text, std::size_t columns, std::size_t indent);

/// Lines of a report with those that are wider than `columns` wrapped: the value of a field goes on below where it begins.
std::string laid_out(std::string_view lines, std::size_t columns);

/// Parts with two blanks between them, but those that no longer fit.
std::string joined_to_fit(const std::vector<std::string>& parts, std::size_t columns);

}  // namespace lowrank::apps
