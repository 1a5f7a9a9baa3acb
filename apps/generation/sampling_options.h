// The options of generate and chat that say how tokens are drawn.
#pragma once

#include <cstdint>

#include "lowrank/apps/console/options.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/models/generate.h"

namespace lowrank::apps {

void append_sampling_options(Verb& verb, std::int64_t max_new_tokens);
/// Their values, within bounds; ConfigError otherwise. What is given and does nothing is said.
models::GenerateOptions sampling_options(const Options& options, const Console& console);

}  // namespace lowrank::apps
