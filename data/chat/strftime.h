// strftime_now's answer, in the C locale.
#pragma once

#include <string>

#include "lowrank/data/chat/chat_template.h"

namespace lowrank::data::jinja {

/// Codes as glibc's strftime, which Python's datetime uses: %Y %m %d %B … and "-" for numbers without padding.
/// TemplateError: a code that is none, a date that is none.
std::string strftime(Budget& budget, const ChatDate& date, const std::string& format);

}  // namespace lowrank::data::jinja
