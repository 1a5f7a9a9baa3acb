// YAML as JSON, and JSON as YAML reads it back.
#pragma once

#include <yaml-cpp/yaml.h>

#include <string>

#include "lowrank/core/json.h"

namespace lowrank::recipes {

/// Words that stand in no quotes are numbers and truth values where they look like them; merge keys (<<) are merged.
core::Json json_of_yaml(const YAML::Node& node);

/// In one line, with quotes where YAML would take a word for something else; what shows nothing of itself is escaped (core/visible.h).
std::string yaml_of_json(const core::Json& value);

}  // namespace lowrank::recipes
