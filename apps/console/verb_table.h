// The table of verbs and options as JSON: what `lowrank --help --json` prints for programs, and what the build keeps
// beside the verbs so that help and mistakes in names are answered without them (main.cpp).
#pragma once

#include <string>
#include <vector>

#include "lowrank/apps/console/options.h"
#include "lowrank/core/json.h"

namespace lowrank::apps {

/// "lowrank --help --json"
bool asks_for_table(const std::vector<std::string>& words);

core::Json to_json(const std::vector<Verb>& verbs);

/// All of them but what they do. FormatError; none where another version wrote the table.
std::vector<Verb> verbs_from_json(const core::JsonView& json);

}  // namespace lowrank::apps
