// `finetune --preset`: a set of options that suits a kind of data, each unless it is given.
#pragma once

#include "lowrank/apps/console/options.h"
#include "lowrank/apps/console/terminal.h"

namespace lowrank::apps {

/// The options with what --preset sets; what was given stays. Says on the console what was set. Without --preset: as
/// they are.
Options with_preset(const Options& options, const Console& console);

}  // namespace lowrank::apps
