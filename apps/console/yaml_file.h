// YAML files of ours: options and search spaces.
#pragma once

#include <yaml-cpp/yaml.h>

#include <filesystem>
#include <functional>
#include <string>

namespace lowrank::apps {

/// Reads a file (JSON is YAML too) that has a mapping at its top, and gives that to `use`. ConfigError naming file and
/// line for what is not YAML, and for what yaml-cpp throws while `use` looks at it.
void use_yaml_file(const std::filesystem::path& file, const std::string& expected,
                   const std::function<void(const YAML::Node&)>& use);

/// "file line 3".
std::string place_of(const std::string& file, const YAML::Node& node);

/// The text of a key or a value. ConfigError where it is a list or a mapping.
std::string scalar_of(const std::string& file, const YAML::Node& node);

}  // namespace lowrank::apps
