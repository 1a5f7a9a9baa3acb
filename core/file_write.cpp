#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <system_error>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/system.h"
#include "lowrank/core/text.h"

namespace lowrank::core {

namespace {

bool is_space_error(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

void sync_path(const fs::path& path, int flags) {
  const Descriptor fd(uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | flags); }));
  if (fd.get() < 0) throw_errno("open for syncing", path, errno);
  if (uninterrupted([&] { return ::fsync(fd.get()); }) == 0) return;
  // Some network and FUSE file systems cannot sync a folder; there is nothing more that could be done.
  if ((flags & O_DIRECTORY) != 0 && (errno == EINVAL || errno == ENOTSUP)) return;
  if (is_space_error(errno)) throw_write_error(path, errno, 0, 0);
  throw_errno("sync", path, errno);
}

void sync_tree(const fs::path& directory) {
  std::error_code error;
  fs::directory_iterator entries(directory, error);
  if (error) throw_errno("list", directory, error.value());
  for (const fs::directory_iterator end; entries != end; entries.increment(error)) {
    const fs::file_status status = entries->symlink_status();
    if (fs::is_directory(status)) sync_tree(entries->path());
    if (fs::is_regular_file(status)) sync_path(entries->path(), 0);
  }
  if (error) throw_errno("list", directory, error.value());
  sync_directory(directory);
}

// rename(2) that never replaces: RENAME_NOREPLACE where the file system has it.
void rename_to_new(const fs::path& from, const fs::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return;
  int error = errno;
  if (error == EINVAL || error == ENOSYS) {
    struct stat status {};
    if (::lstat(to.c_str(), &status) == 0) {
      error = EEXIST;
    } else if (::rename(from.c_str(), to.c_str()) == 0) {
      return;
    } else {
      error = errno;
    }
  }
  if (error == EEXIST) throw IoError(fmt::format("cannot create {}: it exists already", quoted(to)));
  throw_write_error(to, error, 0, 0);
}

}  // namespace

// A full disk, quota or `ulimit -f` says what would have been enough. (EFBIG comes back only where SIGXFSZ is ignored,
// as the app does; by default that signal ends the process.)
void throw_write_error(const fs::path& destination, int error, std::uint64_t needed, std::uint64_t written) {
  if (error == ENOENT) {
    throw IoError(fmt::format("cannot write {}: the folder {} does not exist", quoted(destination),
                              quoted(parent_of(destination))));
  }
  if (!is_space_error(error))
    throw IoError(fmt::format("cannot write {}: {}", quoted(destination), std::generic_category().message(error)));
  std::string room;
  struct statvfs volume {};
  if (::statvfs(parent_of(destination).c_str(), &volume) == 0) {
    room = fmt::format(", {} are free now", format_bytes(std::uint64_t{volume.f_bavail} * volume.f_frsize));
  }
  throw IoError(fmt::format(
      "cannot write {}: {}: {} bytes ({}) are needed, {} were written before it stopped{}; {}", quoted(destination),
      std::generic_category().message(error), needed, format_bytes(needed), format_bytes(written), room,
      error == EFBIG ? "raise the limit on file size (ulimit -f)" : "make room or choose another folder"));
}

void write_fully(int fd, const fs::path& destination, std::string_view bytes, std::uint64_t needed,
                 std::uint64_t written) {
  while (!bytes.empty()) {
    const std::size_t chunk = std::min<std::size_t>(bytes.size(), std::size_t{1} << 30);
    const ssize_t n = uninterrupted([&] { return ::write(fd, bytes.data(), chunk); });
    // A write of no bytes without an error is a full device, too.
    if (n <= 0) throw_write_error(destination, n == 0 ? ENOSPC : errno, std::max(needed, written + bytes.size()), written);
    written += static_cast<std::uint64_t>(n);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

void close_written(int fd, const fs::path& destination, std::uint64_t written) {
  // After EINTR the descriptor is closed on Linux: to close it again would close somebody else's.
  if (::close(fd) != 0 && errno != EINTR) throw_write_error(destination, errno, written, written);
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw IoError("the folder " + folder.string() + " could not be made: " + error.message());
  if (!fs::is_directory(folder)) throw IoError(folder.string() + " is a file, not a folder");
}

void refuse_link(const fs::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISLNK(status.st_mode)) return;
  std::error_code ignored;
  throw IoError(fmt::format("{} is a link, to {}, and nothing is written through a link; remove it or name another place",
                            quoted(path), quoted(fs::read_symlink(path, ignored))));
}

void sync_directory(const fs::path& directory) { sync_path(directory / "", O_DIRECTORY); }

AtomicFile::AtomicFile(fs::path destination, std::uint64_t expected_bytes)
    : destination_(std::move(destination)),
      temporary_(temporary_beside(destination_)),
      expected_bytes_(expected_bytes) {
  sweep_forgotten(parent_of(destination_));
  fd_ = uninterrupted(
      [&] { return ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666); });
  if (fd_ < 0) throw_write_error(destination_, errno, expected_bytes_, 0);
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

void AtomicFile::write(std::string_view bytes) {
  if (fd_ < 0) throw InternalError("AtomicFile::write after commit: " + quoted(destination_));
  write_fully(fd_, destination_, bytes, expected_bytes_, written_);
  written_ += bytes.size();
}

void AtomicFile::commit() {
  if (fd_ < 0) throw InternalError("AtomicFile::commit twice: " + quoted(destination_));
  const std::uint64_t needed = std::max(expected_bytes_, written_);
  if (uninterrupted([&] { return ::fsync(fd_); }) != 0) throw_write_error(destination_, errno, needed, written_);
  const int fd = fd_;
  fd_ = -1;
  close_written(fd, destination_, written_);
  if (::rename(temporary_.c_str(), destination_.c_str()) != 0) throw_write_error(destination_, errno, needed, written_);
  temporary_.clear();
  sync_directory(parent_of(destination_));
}

void write_file(const fs::path& destination, std::string_view bytes) {
  AtomicFile file(destination, bytes.size());
  file.write(bytes);
  file.commit();
}

StagedDirectory::StagedDirectory(fs::path destination) : destination_(std::move(destination)) {
  if (!destination_.has_filename()) destination_ = destination_.parent_path();  // "out/" is "out"
  temporary_ = temporary_beside(destination_);
  struct stat status {};
  if (::lstat(destination_.c_str(), &status) == 0) {
    std::error_code error;
    replaces_empty_ = S_ISDIR(status.st_mode) && fs::is_empty(destination_, error) && !error;
    if (!replaces_empty_) throw IoError(fmt::format("cannot create {}: it exists already", quoted(destination_)));
  }
  if (::mkdir(temporary_.c_str(), 0777) != 0) throw_write_error(destination_, errno, 0, 0);
}

StagedDirectory::~StagedDirectory() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
}

void StagedDirectory::commit() {
  if (committed_) throw InternalError("StagedDirectory::commit twice: " + quoted(destination_));
  sync_tree(temporary_);
  if (replaces_empty_) ::rmdir(destination_.c_str());  // where it is no longer empty the renaming says so
  rename_to_new(temporary_, destination_);
  committed_ = true;
  sync_directory(parent_of(destination_));
}

}  // namespace lowrank::core
