// Text made safe to stand in HTML.
#pragma once

#include <string>
#include <string_view>

namespace lowrank::eval {

/// For text and for quoted attributes: & < > " ' escaped, invalid UTF-8 and control characters (but tab and newline) as
/// U+FFFD.
std::string html_escape(std::string_view text);

}  // namespace lowrank::eval
