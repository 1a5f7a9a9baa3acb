// YAML, in which few lines that refer to each other can stand for thousands of millions of values.
#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <string>

namespace lowrank::data {

/// A YAML text (JSON is YAML too) as nodes: no deeper than 64 levels, and no more than `most_nodes` with all that
/// references stand for. FormatError for more, and for what is no YAML, beginning with `where` and the line.
YAML::Node parse_yaml(const std::string& text, const std::string& where, std::int64_t most_nodes = 100'000);

}  // namespace lowrank::data
