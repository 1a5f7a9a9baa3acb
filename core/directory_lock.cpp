#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/system.h"

namespace lowrank::core {

namespace {

[[noreturn]] void throw_held(const fs::path& directory, int fd) {
  char text[32] = {};
  const ssize_t n = uninterrupted([&] { return ::pread(fd, text, sizeof text - 1, 0); });
  const std::string pid(text, n > 0 ? static_cast<std::size_t>(n) : 0);
  const std::size_t digits = pid.find_first_not_of("0123456789");
  const std::string holder = digits == 0 || pid.empty() ? "another process" : "process " + pid.substr(0, digits);
  throw IoError(
      fmt::format("{} is in use by {}; wait until it ends or choose another folder", quoted(directory), holder));
}

}  // namespace

DirectoryLock::DirectoryLock(const fs::path& directory) : file_(directory / ".lowrank.lock") {
  while (true) {
    Descriptor fd(uninterrupted(
        [&] { return ::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666); }));
    if (fd.get() < 0) throw_errno("lock the folder with", file_, errno);
    if (uninterrupted([&] { return ::flock(fd.get(), LOCK_EX | LOCK_NB); }) != 0) {
      if (errno == EWOULDBLOCK) throw_held(directory, fd.get());
      throw_errno("lock the folder with", file_, errno);
    }
    // The last holder removes the file: a lock on a file that is no longer there holds nobody off.
    struct stat ours {
    }, there{};
    if (::fstat(fd.get(), &ours) != 0) throw_errno("look at", file_, errno);
    if (::lstat(file_.c_str(), &there) != 0 || ours.st_ino != there.st_ino || ours.st_dev != there.st_dev) continue;
    const std::string pid = fmt::format("{}\n", ::getpid());
    if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) {
      throw_errno("write", file_, errno);
    }
    fd_ = fd.release();
    return;
  }
}

DirectoryLock::~DirectoryLock() {
  if (fd_ < 0) return;
  ::unlink(file_.c_str());
  ::close(fd_);
}

}  // namespace lowrank::core
