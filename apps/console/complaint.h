// How the command ends with an error: one line on stderr, with --json an object on stdout, an exit code.
#pragma once

#include <string>
#include <vector>

#include "lowrank/core/error.h"

namespace lowrank::apps {

int exit_code(ErrorKind kind);

/// Whether a program reads what is printed: it is given errors on stdout, too.
bool asks_for_json(const std::vector<std::string>& words);

void print_complaint(int code, const std::string& message, bool json);

}  // namespace lowrank::apps
