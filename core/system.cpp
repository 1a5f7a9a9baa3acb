#include "lowrank/core/system.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <system_error>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"

namespace lowrank::core {

namespace {

void refuse_irregular(const fs::path& file, mode_t mode) {
  if (S_ISREG(mode)) return;
  const char* what = S_ISDIR(mode)                    ? "a directory"
                     : S_ISFIFO(mode)                 ? "a FIFO"
                     : S_ISCHR(mode) || S_ISBLK(mode) ? "a device"
                                                      : "a socket or another special file";
  throw FormatError(fmt::format("{} is {}, where a regular file was expected", quoted(file), what));
}

}  // namespace

std::string quoted(const fs::path& path) { return fmt::format("'{}'", printable(path.string(), 500)); }

void throw_errno(const std::string& doing, const fs::path& path, int error) {
  const std::string message =
      fmt::format("cannot {} {}: {}", doing, quoted(path), std::generic_category().message(error));
  if (error == ENOENT || error == ENOTDIR) throw MissingError(message);
  throw IoError(message);
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

int open_regular(const fs::path& file) {
  // Looked at before it is opened, because opening a device may do things; and after, because it may have been swapped.
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) throw_errno("open", file, errno);
  refuse_irregular(file, status.st_mode);
  const int fd = uninterrupted([&] { return ::open(file.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC); });
  if (fd < 0) throw_errno("open", file, errno);
  Descriptor owner(fd);
  if (::fstat(fd, &status) != 0) throw_errno("look at", file, errno);
  refuse_irregular(file, status.st_mode);
  return owner.release();
}

fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

fs::path temporary_beside(const fs::path& destination) {
  static std::atomic<std::uint64_t> counter{0};
  if (!destination.has_filename()) {
    throw IoError(fmt::format("cannot write {}: it is not a file name", quoted(destination)));
  }
  return parent_of(destination) /
         fmt::format(".{}.tmp-{}-{}", destination.filename().string(), ::getpid(), counter.fetch_add(1));
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

int sweep_temporaries(const fs::path& directory) {
  std::error_code error;
  fs::directory_iterator entries(directory, error);
  if (error) throw_errno("list", directory, error.value());
  int removed = 0;
  for (const fs::directory_iterator end; entries != end; entries.increment(error)) {
    const fs::path path = entries->path();
    if (!is_temporary_name(path.filename().string())) continue;
    std::error_code failed;
    fs::remove_all(path, failed);  // a symbolic link itself, never what it names
    if (failed) throw_errno("remove", path, failed.value());
    ++removed;
  }
  if (error) throw_errno("list", directory, error.value());
  return removed;
}

}  // namespace lowrank::core
