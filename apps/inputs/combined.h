// Options of `merge` that make one adapter of several.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/apps/console/options.h"
#include "lowrank/core/json.h"
#include "lowrank/lora/combine.h"

namespace lowrank::apps {

std::vector<OptionSpec> combine_options();
/// Whether several adapters are given, or a combination is asked for. Error by the option where they do not go together.
bool combines(const Options& options);
/// What the options say of it.
lora::CombineOptions combination_asked_for(const Options& options);

}  // namespace lowrank::apps
