// What stands in a checkout where Git LFS has not fetched a file.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lowrank::core {

/// What to say, after its name, of a file that begins as a pointer does; nothing of others.
inline std::optional<std::string> told_of_lfs_pointer(std::string_view begin) {
  if (!begin.starts_with("version https://git-lfs.github.com/spec/")) return std::nullopt;
  return "is a Git LFS pointer, not the file itself: run 'git lfs install && git lfs pull' in its folder, or download the file again";
}

}  // namespace lowrank::core
