#include "lowrank/lora/path_change.h"

#include <algorithm>
#include <set>
#include <utility>

namespace lowrank::lora {
namespace {

// Length of the longest common end that begins at a segment in both.
std::size_t common_end(const std::string& a, const std::string& b) {
  std::size_t best = 0;
  for (std::size_t n = 1; n <= std::min(a.size(), b.size()); ++n) {
    if (a[a.size() - n] != b[b.size() - n]) break;
    const bool starts_a = n == a.size() || a[a.size() - n - 1] == '.';
    const bool starts_b = n == b.size() || b[b.size() - n - 1] == '.';
    if (starts_a && starts_b) best = n;
  }
  return best;
}

bool has_number(const std::string& path) {
  for (std::size_t begin = 0; begin < path.size();) {
    const std::size_t end = std::min(path.find('.', begin), path.size());
    if (end > begin &&
        std::all_of(path.begin() + static_cast<std::ptrdiff_t>(begin), path.begin() + static_cast<std::ptrdiff_t>(end),
                    [](char c) { return c >= '0' && c <= '9'; }))
      return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

std::string PathChange::in_file(const std::string& own) const {
  if (!changes() || std::binary_search(file_paths.begin(), file_paths.end(), own)) return own;
  return own.compare(0, to.size(), to) == 0 ? from + own.substr(to.size()) : own;
}

PathChange find_path_change(std::vector<std::string> file_paths, const std::vector<std::string>& own_paths) {
  const std::set<std::string> own(own_paths.begin(), own_paths.end());
  std::sort(file_paths.begin(), file_paths.end());
  std::set<std::string> placed;
  for (const std::string& path : file_paths)
    if (own.count(path) > 0) placed.insert(path);
  PathChange change;
  for (const std::string& path : file_paths) {
    if (own.count(path) > 0) continue;
    if (!change.changes()) {  // the first such path decides
      std::size_t best = 0;
      for (const std::string& candidate : own_paths) {
        const std::size_t n = common_end(path, candidate);
        if (n <= best) continue;
        best = n;
        change.from = path.substr(0, path.size() - n);
        change.to = candidate.substr(0, candidate.size() - n);
      }
      if (best == 0 || has_number(change.from) || has_number(change.to)) return {"", "", path, {}};
    }
    const std::string renamed =
        path.compare(0, change.from.size(), change.from) == 0 ? change.to + path.substr(change.from.size()) : "";
    if (own.count(renamed) == 0 || !placed.insert(renamed).second) return {"", "", path, {}};
  }
  change.file_paths = std::move(file_paths);
  return change;
}

}  // namespace lowrank::lora
