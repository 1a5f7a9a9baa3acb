// Completion for shells and the manual page, from the table of verbs and options.
#pragma once

#include <string>
#include <vector>

#include "lowrank/apps/console/options.h"

namespace lowrank::apps {

/// A script for "bash", "zsh" or "fish": verbs, options, the choices of an option, else files. ConfigError for another
/// shell.
std::string completion_script(const std::string& shell, const std::vector<Verb>& verbs);

/// lowrank.1, in man's macros.
std::string manual_page(const std::vector<Verb>& verbs, const std::string& version);

}  // namespace lowrank::apps
