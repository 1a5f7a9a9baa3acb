// Private to core/: system calls whose every result is looked at.
#pragma once

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "lowrank/core/file_ref.h"

namespace lowrank::core {

namespace fs = std::filesystem;

/// "'path'", safe to print.
std::string quoted(const fs::path& path);

/// Throws "cannot <doing> 'path': <errno's text>": MissingError for ENOENT, ENOTDIR and ENAMETOOLONG, else IoError.
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
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
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

/// Opens a regular file for reading, beneath its folder as FileRef says, never blocking on a FIFO. MissingError,
/// IoError; FormatError for anything else, and for a link that leads out. Returns the descriptor.
int open_regular(const FileRef& file);

/// FormatError for what is no regular file (`mode` of stat).
void refuse_irregular(const fs::path& file, unsigned mode);

/// openat of `name` with no part of the way, links included, outside `root`: -1 and EXDEV otherwise. By openat2 where
/// the kernel has it, else by walk_beneath, which goes part by part; a link with an absolute target leads out for both.
int open_beneath(int root, const fs::path& name, int flags);
int walk_beneath(int root, const fs::path& name, int flags);

/// IoError of a write that failed; a full disk, quota or `ulimit -f` says what would have been enough.
[[noreturn]] void throw_write_error(const fs::path& destination, int error, std::uint64_t needed, std::uint64_t written);

/// Writes all of it to a descriptor, through interruptions and short writes. IoError as above; `needed`: the file's
/// whole size, where it is known; `written`: bytes before these.
void write_fully(int fd, const fs::path& destination, std::string_view bytes, std::uint64_t needed,
                 std::uint64_t written);

/// close(2), whose error is the last word on a write. IoError.
void close_written(int fd, const fs::path& destination, std::uint64_t written);

/// The folder for temporary files: TMPDIR, or /tmp where that is no folder.
fs::path temporary_place();

/// A file's name as it is, or, where that is so long that nothing could be put around it, its beginning and a hash.
std::string short_name(const std::string& name);

/// A new name beside `destination` that is_temporary_name knows.
fs::path temporary_beside(const fs::path& destination);

/// Removes temporary files directly in a folder that nobody has written to for a day: of a cache, where no lock says that their writers are
/// gone. The first time that this process asks for that folder; what cannot be removed stays.
void sweep_forgotten(const fs::path& directory);

/// The folder that holds a path ("." for a bare name).
fs::path parent_of(const fs::path& path);

}  // namespace lowrank::core
