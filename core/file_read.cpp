#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/system.h"
#include "lowrank/core/text.h"

namespace lowrank::core {

namespace {

FileStamp stamp_from(const struct stat& status) {
  return {static_cast<std::uint64_t>(status.st_size),
          std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec,
          static_cast<std::uint64_t>(status.st_ino), static_cast<std::uint64_t>(status.st_dev)};
}

}  // namespace

FileStamp stamp_of(const FileRef& ref) {
  const fs::path& file = ref.path();
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) throw_errno("look at", file, errno);
  return stamp_from(status);
}

void check_unchanged(const FileRef& ref, const FileStamp& stamp) {
  const fs::path& file = ref.path();
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) {
    throw IoError(fmt::format("{} was removed or renamed while it was in use", quoted(file)));
  }
  const FileStamp now = stamp_from(status);
  if (now == stamp) return;
  const std::string how = now.inode != stamp.inode || now.device != stamp.device ? "another file took its place"
                          : now.size != stamp.size ? fmt::format("it had {} bytes and has {}", stamp.size, now.size)
                                                   : "it was written to";
  throw IoError(
      fmt::format("{} changed while it was in use: {}; start again on files that stay as they are", quoted(file), how));
}

std::string read_file(const FileRef& ref, std::uint64_t max_bytes) {
  const Descriptor fd(open_regular(ref));
  const fs::path& file = ref.path();
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) throw_errno("look at", file, errno);
  const auto refuse_large = [&](std::uint64_t size) {
    throw FormatError(fmt::format("{} has {}, more than the {} that are read at most", quoted(file), format_bytes(size),
                                  format_bytes(max_bytes)));
  };
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size > max_bytes) refuse_large(size);
  // Read to the end rather than to st_size: the file may grow, and files of /proc say 0.
  std::string bytes;
  std::size_t used = 0;
  while (true) {
    if (used == bytes.size()) bytes.resize(used == 0 ? static_cast<std::size_t>(size) + 1 : used + used / 2 + 4096);
    const ssize_t n = uninterrupted([&] { return ::read(fd.get(), bytes.data() + used, bytes.size() - used); });
    if (n < 0) throw_errno("read", file, errno);
    if (n == 0) break;
    used += static_cast<std::size_t>(n);
    if (used > max_bytes) refuse_large(used);
  }
  bytes.resize(used);
  return bytes;
}

InputFile::InputFile(const FileRef& file) : path_(file.path()), fd_(open_regular(file)) {}

InputFile::~InputFile() { ::close(fd_); }

std::size_t InputFile::read(std::span<char> room) {
  const ssize_t n = uninterrupted([&] { return ::read(fd_, room.data(), room.size()); });
  if (n < 0) throw_errno("read", path_, errno);
  return static_cast<std::size_t>(n);
}

void InputFile::read_at(std::uint64_t place, std::span<char> room) const {
  while (!room.empty()) {
    const ssize_t n = uninterrupted([&] { return ::pread(fd_, room.data(), room.size(), static_cast<off_t>(place)); });
    if (n < 0) throw_errno("read", path_, errno);
    if (n == 0) throw IoError(fmt::format("{} ends after {}; it was cut off while it was in use", quoted(path_), format_bytes(place)));
    room = room.subspan(static_cast<std::size_t>(n));
    place += static_cast<std::uint64_t>(n);
  }
}

std::shared_ptr<const MappedFile> MappedFile::open(const FileRef& ref) {
  const Descriptor fd(open_regular(ref));
  const fs::path& file = ref.path();
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) throw_errno("look at", file, errno);
  std::shared_ptr<MappedFile> mapped(new MappedFile);
  mapped->path_ = file;
  mapped->stamp_ = stamp_from(status);
  if (status.st_size == 0) return mapped;
  const auto size = static_cast<std::size_t>(status.st_size);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (address == MAP_FAILED) throw_errno("map", file, errno);
  mapped->data_ = static_cast<const std::byte*>(address);
  mapped->size_ = size;
  return mapped;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace lowrank::core
