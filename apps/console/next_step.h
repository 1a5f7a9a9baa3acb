// What a person would likely do next, as a command to paste.
#pragma once

#include <initializer_list>
#include <string>

#include "lowrank/apps/console/terminal.h"

namespace lowrank::apps {

/// "next: lowrank generate OUT --prompt …", its words quoted where they must be; nothing with --json or --quiet.
void print_next(const Console& console, std::initializer_list<std::string> words);

}  // namespace lowrank::apps
