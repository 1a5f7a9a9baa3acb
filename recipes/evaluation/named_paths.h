// Fields whose values are [NAME=]PATH: sets of data, models to compare.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lowrank::recipes {

struct NamedPaths {
  std::string name;
  std::vector<std::filesystem::path> paths;
  bool named = false;  // the user gave the name; else it is the path's
};

/// The texts of a field in order, which errors name. Equal names are one entry with several paths; a path that exists
/// as it is written is a path, '=' or not.
std::vector<NamedPaths> named_paths(const std::string& field, const std::vector<std::string>& texts);

}  // namespace lowrank::recipes
