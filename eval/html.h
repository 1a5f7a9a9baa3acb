// Text made safe to stand in HTML.
#pragma once

#include <string>
#include <string_view>

namespace lowrank::eval {

/// For text and for quoted attributes: & < > " ' escaped, invalid UTF-8 as U+FFFD, what would hide or reorder text as
/// core::visible_prose writes it.
std::string html_escape(std::string_view text);

}  // namespace lowrank::eval
