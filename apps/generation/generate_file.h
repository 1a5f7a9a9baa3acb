// `lowrank generate --input`: an answer for every row of a file.
#pragma once

#include "lowrank/apps/console/options.h"

namespace lowrank::apps {

/// The verb's work when --input is given; gives the exit code.
int generate_file(const Options& options);

}  // namespace lowrank::apps
