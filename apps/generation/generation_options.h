// The options of generate and chat that name adapters, layouts and files, and what they become.
#pragma once

#include <vector>

#include "lowrank/apps/console/options.h"
#include "lowrank/recipes/generation/adapter_switch.h"
#include "lowrank/recipes/generation/prompt_layout.h"

namespace lowrank::apps {

/// --adapter [NAME=]DIR, once for each.
OptionSpec option_adapters();
std::vector<recipes::NamedAdapter> adapters_asked_for(const Options& options);

/// --task, --from, --to.
void append_layout_options(Verb& verb);
recipes::PromptLayout layout_asked_for(const Options& options);

/// --input, --output, --batch-size, --resume, --overwrite.
void append_file_options(Verb& verb);

}  // namespace lowrank::apps
