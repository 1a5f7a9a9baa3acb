// Options whose values are [NAME=]PATH: sets of data, models to compare.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/apps/console/options.h"

namespace lowrank::apps {

struct NamedPaths {
  std::string name;
  std::vector<std::filesystem::path> paths;
  bool named = false;  // the user gave the name; else it is the path's
};

/// In order. Equal names are one entry with several paths; a path that exists as it is written is a path, '=' or not.
std::vector<NamedPaths> named_paths(const Options& options, const std::string& option);

}  // namespace lowrank::apps
