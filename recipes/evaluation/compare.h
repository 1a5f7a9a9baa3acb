// `lowrank evaluate --compare`: base, adapters and other models side by side on texts and questions.
#pragma once

#include <vector>

#include "lowrank/apps/console/options.h"
#include "lowrank/apps/console/terminal.h"

namespace lowrank::apps {

std::vector<OptionSpec> comparison_options();
/// Whether an option was given that plain perplexity does not need.
bool comparison_asked_for(const Options& options);
int compare(const Options& options, const Console& console);

}  // namespace lowrank::apps
