// What is printed of several runs of one fine-tuning.
#pragma once

#include "lowrank/apps/console/terminal.h"
#include "lowrank/recipes/repeated_runs.h"

namespace lowrank::apps {

/// The table of the runs and what it says, with --json their run.json; the exit code.
int end_of_several(const recipes::RepeatedResult& result, const Console& console);

}  // namespace lowrank::apps
