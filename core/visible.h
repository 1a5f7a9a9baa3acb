// Text of unknown origin made safe to show: nothing in it can move the terminal, hide, reorder what stands beside it, or
// begin a line of its own. What shows text does this (the console, pages, model cards), not whoever made the text.
// Text that was made safe already stays as it is.
#pragma once

#include <string>
#include <string_view>

namespace lowrank::core {

/// One line: every control character (newlines too), every mark that reorders or hides text (bidirectional marks, zero
/// widths, tags, fillers) and every invalid byte is written as \n, \t, \r or as \xNN, byte by byte.
std::string visible_line(std::string_view text);
/// The same, with newlines and tabs left as they are.
std::string visible_lines(std::string_view text);
/// A text that people asked to read (a model's answer): as visible_lines, but for the joiners U+200C and U+200D, which
/// Persian, Indic scripts and emoji need.
std::string visible_prose(std::string_view text);
/// JSON text with the same value, in whose strings such characters are written \uNNNN (json.dump() leaves all beyond
/// U+001F as they are).
std::string visible_json(std::string_view dumped);
/// The same for a JSON text that stands in YAML, which (as Python's strings) knows no pairs of surrogates: beyond U+FFFF \UNNNNNNNN.
std::string visible_yaml(std::string_view dumped);

}  // namespace lowrank::core
