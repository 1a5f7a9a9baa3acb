// Module paths of an adapter that was made under another version of the same model's classes.
#pragma once

#include <string>
#include <vector>

namespace lowrank::lora {

/// Paths in the file that are no path of the model begin with `from` where the model's begin with `to`.
struct PathChange {
  std::string from, to;  // "model.language_model." and "model."
  std::string unplaced;  // a path in the file that fits no module of the model; empty: all fit
  bool changes() const { return from != to; }
  /// The name that the file has (or would have) for a module of the model.
  std::string in_file(const std::string& own) const;

  std::vector<std::string> file_paths;  // sorted
};

/// The one change that places every path: decided by the longest common end, in whole segments. Numbers (layers) are
/// never part of what changes.
PathChange find_path_change(std::vector<std::string> file_paths, const std::vector<std::string>& own_paths);

}  // namespace lowrank::lora
