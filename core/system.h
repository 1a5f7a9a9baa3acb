// Private to core/: system calls whose every result is looked at.
#pragma once

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace lowrank::core {

namespace fs = std::filesystem;

/// "'path'", safe to print.
std::string quoted(const fs::path& path);

/// Throws "cannot <doing> 'path': <errno's text>": MissingError for ENOENT and ENOTDIR, else IoError.
[[noreturn]] void throw_errno(const std::string& doing, const fs::path& path, int error);

/// Calls a system call again for as long as a signal interrupts it.
template <class Call>
auto uninterrupted(Call call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

/// A file descriptor, closed at the end of the scope.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_;
};

/// Opens a regular file for reading, never blocking on a FIFO. MissingError, IoError; FormatError for anything else.
/// Returns the descriptor.
int open_regular(const fs::path& file);

/// A new name beside `destination` that is_temporary_name knows.
fs::path temporary_beside(const fs::path& destination);

/// The folder that holds a path ("." for a bare name).
fs::path parent_of(const fs::path& path);

}  // namespace lowrank::core
