// The help of a verb, as wide as the terminal.
#pragma once

#include <string>

#include "lowrank/apps/console/options.h"

namespace lowrank::apps {

/// Usage, example and options. Of many options those that people need first, unless `all`. `columns`: see
/// stdout_columns().
std::string help_text(const Verb& verb, bool all, std::size_t columns);

/// Whether the short help of a verb of many options has this one.
bool needed_first(const std::string& option);

/// "lowrank finetune MODEL --data PATH... --out DIR [options]"
std::string usage_of(const Verb& verb);

}  // namespace lowrank::apps
