#include "lowrank/core/memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lowrank::core {

namespace fs = std::filesystem;

namespace {

std::vector<std::string> lines_of(const fs::path& file) {
  std::vector<std::string> lines;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

/// Nothing for "max" and "unlimited".
std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

/// The number of a file that holds one.
std::optional<std::uint64_t> number_in(const fs::path& file) {
  const std::vector<std::string> lines = lines_of(file);
  return lines.empty() ? std::nullopt : number(lines.front());
}

/// The number after `key` in a file of lines "key number ...", as /proc/meminfo and memory.stat are.
std::optional<std::uint64_t> number_after(const fs::path& file, std::string_view key) {
  for (const std::string& line : lines_of(file)) {
    const std::vector<std::string> words = words_of(line);
    if (words.size() >= 2 && words[0] == key) return number(words[1]);
  }
  return std::nullopt;
}

std::uint64_t minus(std::uint64_t a, std::uint64_t b) { return a > b ? a - b : 0; }

/// The smallest of those that are known.
class Smallest {
 public:
  void add(std::optional<std::uint64_t> bytes) {
    if (bytes) smallest_ = std::min(smallest_.value_or(*bytes), *bytes);
  }
  std::optional<std::uint64_t> get() const { return smallest_; }

 private:
  std::optional<std::uint64_t> smallest_;
};

/// What one control group leaves.
void add_group(Smallest& left, const fs::path& group, bool version2) {
  Smallest limit;
  limit.add(number_in(group / (version2 ? "memory.max" : "memory.limit_in_bytes")));
  if (version2) limit.add(number_in(group / "memory.high"));
  const auto used = number_in(group / (version2 ? "memory.current" : "memory.usage_in_bytes"));
  if (!limit.get() || !used) return;
  const auto cache = number_after(group / "memory.stat", version2 ? "inactive_file" : "total_inactive_file");
  left.add(minus(*limit.get(), minus(*used, cache.value_or(0))));
}

/// Where a hierarchy of control groups is mounted, and which of its groups that is.
struct Mount {
  fs::path point, group;
};

std::optional<Mount> group_mount(const fs::path& root, bool version2) {
  for (const std::string& line : lines_of(root / "proc/self/mountinfo")) {
    // ID parent major:minor GROUP POINT options [tags...] - TYPE source OPTIONS
    const std::vector<std::string> words = words_of(line);
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || words.end() - dash < 4) continue;
    const std::string options = "," + dash[3] + ",";
    if (version2 ? dash[1] == "cgroup2" : dash[1] == "cgroup" && options.find(",memory,") != std::string::npos) {
      return Mount{root / fs::path(words[4]).relative_path(), words[3]};
    }
  }
  return std::nullopt;
}

/// This process's group in a hierarchy, as /proc/self/cgroup says it: "0::/path", or "4:cpu,memory:/path" of version 1.
std::optional<fs::path> own_group(const fs::path& root, bool version2) {
  for (const std::string& line : lines_of(root / "proc/self/cgroup")) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    if (version2 ? controllers == ",," : controllers.find(",memory,") != std::string::npos)
      return line.substr(second + 1);
  }
  return std::nullopt;
}

void add_groups(Smallest& left, const fs::path& root, bool version2) {
  const auto mount = group_mount(root, version2);
  const auto own = own_group(root, version2);
  if (!mount || !own) return;
  // A container may see its own group as the root of the mount, and one of another name in /proc/self/cgroup.
  const fs::path below = own->lexically_relative(mount->group);
  const bool inside = !below.empty() && *below.begin() != "..";
  fs::path group = mount->point;
  add_group(left, group, version2);
  for (const fs::path& part : inside ? below : fs::path()) {
    if (part == ".") continue;
    group /= part;
    add_group(left, group, version2);
  }
}

/// What a limit of /proc/self/limits leaves beside what /proc/self/status says is taken, in kB.
void add_resource(Smallest& left, const fs::path& root, const std::string& limit, const std::string& taken) {
  for (const std::string& line : lines_of(root / "proc/self/limits")) {
    if (!line.starts_with(limit)) continue;
    const std::vector<std::string> words = words_of(line.substr(limit.size()));
    const auto soft = words.empty() ? std::nullopt : number(words[0]);
    if (soft) left.add(minus(*soft, 1024 * number_after(root / "proc/self/status", taken).value_or(0)));
  }
}

}  // namespace

std::optional<Resident> resident_memory(const std::vector<fs::path>& files, const fs::path& root) {
  const auto all = number_after(root / "proc/self/status", "VmRSS:");
  if (!all) return std::nullopt;
  Resident result{*all * 1024, 0};
  bool ours = false;
  for (const std::string& line : lines_of(root / "proc/self/smaps")) {
    // BEGIN-END rwxp OFFSET DEVICE INODE PATH, then "Key: N kB" lines of that mapping
    const std::size_t path = line.find('/'), space = line.find(' ');
    if (space != std::string::npos && line[space - 1] != ':') {
      ours = path != std::string::npos &&
             std::any_of(files.begin(), files.end(), [&](const fs::path& file) { return line.substr(path) == file; });
    } else if (ours && line.starts_with("Rss:")) {
      const std::vector<std::string> words = words_of(line);
      if (words.size() >= 2) result.of_files += number(words[1]).value_or(0) * 1024;
    }
  }
  return result;
}

std::optional<std::uint64_t> available_address_space(const fs::path& root) {
  Smallest left;
  add_resource(left, root, "Max address space", "VmSize:");
  add_resource(left, root, "Max data size", "VmData:");
  return left.get();
}

std::optional<std::uint64_t> available_memory(const fs::path& root, bool mapped) {
  Smallest left;
  if (const auto machine = number_after(root / "proc/meminfo", "MemAvailable:")) left.add(*machine * 1024);
  add_groups(left, root, true);
  add_groups(left, root, false);
  if (!mapped) left.add(available_address_space(root));
  add_resource(left, root, "Max resident set", "VmRSS:");
  return left.get();
}

}  // namespace lowrank::core
