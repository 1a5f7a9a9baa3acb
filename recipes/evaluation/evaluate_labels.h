// `evaluate --task classification`: how well a classifier tells labelled texts apart.
#pragma once

#include "lowrank/apps/console/options.h"
#include "lowrank/apps/console/terminal.h"

namespace lowrank::apps {

/// Every set of --data with the classifier that MODEL or --adapter is. The exit code.
int evaluate_classification(const Options& options, const Console& console);

}  // namespace lowrank::apps
