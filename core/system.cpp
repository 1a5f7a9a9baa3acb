#include "lowrank/core/system.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <ctime>
#include <mutex>
#include <set>
#include <system_error>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"

namespace lowrank::core {

std::string quoted(const fs::path& path) { return fmt::format("'{}'", printable(path.string(), 500)); }

void throw_errno(const std::string& doing, const fs::path& path, int error) {
  const std::string message =
      fmt::format("cannot {} {}: {}{}", doing, quoted(path), std::generic_category().message(error),
                  error == ENOMEM ? "; raise the limit (of ulimit -v, the control group or the machine)" : "");
  if (error == ENOENT || error == ENOTDIR || error == ENAMETOOLONG) throw MissingError(message);
  throw IoError(message);
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

fs::path temporary_place() {
  std::error_code none;
  const fs::path place = fs::temp_directory_path(none);
  return none ? fs::path("/tmp") : place;
}

std::string short_name(const std::string& name) {
  constexpr std::size_t kLongest = 220;  // of the 255 bytes that a name has
  return name.size() <= kLongest ? name : name.substr(0, 180) + "~" + sha256(name).substr(0, 16);
}

fs::path temporary_beside(const fs::path& destination) {
  static std::atomic<std::uint64_t> counter{0};
  if (!destination.has_filename()) {
    throw IoError(fmt::format("cannot write {}: it is not a file name", quoted(destination)));
  }
  return parent_of(destination) /
         fmt::format(".{}.tmp-{}-{}", short_name(destination.filename().string()), ::getpid(), counter.fetch_add(1));
}

bool is_temporary_name(const std::string& name) {
  const auto digits = [](std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  };
  const std::size_t mark = name.rfind(".tmp-");
  if (mark == std::string::npos || mark < 2 || name.front() != '.') return false;
  const std::string_view numbers = std::string_view(name).substr(mark + 5);
  const std::size_t dash = numbers.find('-');
  return dash != std::string_view::npos && digits(numbers.substr(0, dash)) && digits(numbers.substr(dash + 1));
}

int sweep_temporaries(const fs::path& directory, const std::string& of) {
  std::error_code error;
  fs::directory_iterator entries(directory, error);
  if (error) throw_errno("list", directory, error.value());
  int removed = 0;
  for (const fs::directory_iterator end; entries != end; entries.increment(error)) {
    const fs::path path = entries->path();
    const std::string name = path.filename().string();
    if (!is_temporary_name(name)) continue;
    if (!of.empty() && name.substr(1, name.rfind(".tmp-") - 1) != short_name(of)) continue;
    std::error_code failed;
    fs::remove_all(path, failed);  // a symbolic link itself, never what it names
    if (failed) throw_errno("remove", path, failed.value());
    ++removed;
  }
  if (error) throw_errno("list", directory, error.value());
  return removed;
}

void sweep_forgotten(const fs::path& directory) {
  static std::mutex mutex;
  static std::set<fs::path> done;
  {
    const std::lock_guard lock(mutex);
    if (!done.insert(directory).second) return;
  }
  constexpr std::int64_t kDay = 24 * 60 * 60;
  const std::int64_t now = std::time(nullptr);
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    if (!is_temporary_name(entry->path().filename().string())) continue;
    struct stat status {};
    if (::lstat(entry->path().c_str(), &status) != 0 || S_ISDIR(status.st_mode) || now - status.st_mtime < kDay) continue;
    ::unlink(entry->path().c_str());
  }
}

}  // namespace lowrank::core
