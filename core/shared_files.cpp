#include "lowrank/core/shared_files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdint>
#include <limits>
#include <string>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/system.h"

namespace lowrank::core {

std::optional<SharedLock> SharedLock::try_take(const fs::path& file) {
  while (true) {
    Descriptor fd(uninterrupted(
        [&] { return ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0664); }));
    if (fd.get() < 0) throw_write_error(file, errno, 0, 0);
    if (uninterrupted([&] { return ::flock(fd.get(), LOCK_EX | LOCK_NB); }) != 0) {
      if (errno == EWOULDBLOCK) return std::nullopt;
      throw_errno("lock", file, errno);
    }
    // Others may remove the file as they let go: a lock on a file that is no longer there holds nobody off.
    struct stat ours {
    }, there{};
    if (::fstat(fd.get(), &ours) != 0) throw_errno("look at", file, errno);
    if (::lstat(file.c_str(), &there) != 0 || ours.st_ino != there.st_ino || ours.st_dev != there.st_dev) continue;
    return SharedLock(fd.release());
  }
}

SharedLock::SharedLock(SharedLock&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }

SharedLock& SharedLock::operator=(SharedLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

SharedLock::~SharedLock() {
  if (fd_ >= 0) ::close(fd_);
}

void place_link(std::string_view target, const fs::path& link) {
  sweep_forgotten(parent_of(link));
  const fs::path beside = temporary_beside(link);
  if (::symlink(std::string(target).c_str(), beside.c_str()) != 0) throw_write_error(link, errno, 0, 0);
  if (::rename(beside.c_str(), link.c_str()) != 0) {
    const int error = errno;
    ::unlink(beside.c_str());
    throw_write_error(link, error, 0, 0);
  }
}

void move_into_place(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw_write_error(to, errno, 0, 0);
  sync_directory(parent_of(to));
}

void remove_file(const fs::path& file) {
  if (::unlink(file.c_str()) != 0 && errno != ENOENT) throw_errno("remove", file, errno);
}

std::uint64_t free_bytes(const fs::path& folder) {
  struct statvfs volume {};
  if (::statvfs(folder.c_str(), &volume) != 0) return std::numeric_limits<std::uint64_t>::max();
  return std::uint64_t{volume.f_bavail} * volume.f_frsize;
}

}  // namespace lowrank::core
