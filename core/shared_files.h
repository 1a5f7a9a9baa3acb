// Files in a folder that several programs share (a cache): taken by one at a time, put in place at once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

namespace lowrank::core {

/// An exclusive advisory lock (flock) on a file that anybody may lock: as Python's filelock takes it. The file stays.
class SharedLock {
 public:
  /// Nothing where somebody else holds it. Makes the file; its folder must be there. IoError.
  static std::optional<SharedLock> try_take(const std::filesystem::path& file);
  SharedLock(SharedLock&& other) noexcept;
  SharedLock& operator=(SharedLock&& other) noexcept;
  ~SharedLock();

 private:
  explicit SharedLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

/// A symbolic link at `link` with that text as its target, in place of what stood there. IoError.
void place_link(std::string_view target, const std::filesystem::path& link);

/// rename(2) over what stands at `to`, made durable. IoError.
void move_into_place(const std::filesystem::path& from, const std::filesystem::path& to);

/// Takes a file away, if it is there. IoError.
void remove_file(const std::filesystem::path& file);

/// Bytes that can still be written into the folder; the largest number where that cannot be told.
std::uint64_t free_bytes(const std::filesystem::path& folder);

}  // namespace lowrank::core
