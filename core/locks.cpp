#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/system.h"

namespace lowrank::core {

namespace {

[[noreturn]] void throw_held(const fs::path& what, int fd, const char* remedy) {
  char text[32] = {};
  const ssize_t n = uninterrupted([&] { return ::pread(fd, text, sizeof text - 1, 0); });
  const std::string pid(text, n > 0 ? static_cast<std::size_t>(n) : 0);
  const std::size_t digits = pid.find_first_not_of("0123456789");
  const std::string holder = digits == 0 || pid.empty() ? "another process" : "process " + pid.substr(0, digits);
  throw InUseError(fmt::format("{} is in use by {}; wait until it ends or {}", quoted(what), holder, remedy));
}

// Locks of the open file, not of the process: two threads hold each other off, and one may ask who holds without taking.
struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

// Takes the lock that stands for `what`; returns the descriptor that holds it.
int take(const fs::path& file, const fs::path& what, const char* remedy) {
  while (true) {
    Descriptor fd(uninterrupted(
        [&] { return ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666); }));
    if (fd.get() < 0 && parent_of(file) == parent_of(what)) throw_write_error(what, errno, 0, 0);
    if (fd.get() < 0) throw_errno("lock the folder with", file, errno);
    struct flock lock = whole_file();
    if (uninterrupted([&] { return ::fcntl(fd.get(), F_OFD_SETLK, &lock); }) != 0) {
      if (errno == EAGAIN || errno == EACCES) throw_held(what, fd.get(), remedy);
      throw_errno("lock it with", file, errno);
    }
    // The last holder removes the file: a lock on a file that is no longer there holds nobody off.
    struct stat ours {
    }, there{};
    if (::fstat(fd.get(), &ours) != 0) throw_errno("look at", file, errno);
    if (::lstat(file.c_str(), &there) != 0 || ours.st_ino != there.st_ino || ours.st_dev != there.st_dev) continue;
    const std::string pid = fmt::format("{}\n", ::getpid());
    if (uninterrupted([&] { return ::ftruncate(fd.get(), 0); }) != 0 ||
        uninterrupted([&] { return ::pwrite(fd.get(), pid.data(), pid.size(), 0); }) < 0) {
      throw_errno("write", file, errno);
    }
    return fd.release();
  }
}

void give_back(const fs::path& file, int fd) {
  if (fd < 0) return;
  ::unlink(file.c_str());
  ::close(fd);
}

// What a process left half-written that was killed while it held the lock.
void sweep_under(const fs::path& file, int fd, const fs::path& directory, const std::string& of) {
  try {
    sweep_temporaries(directory, of);
  } catch (...) {
    give_back(file, fd);
    throw;
  }
}

fs::path lock_of(const fs::path& directory) { return directory / ".lowrank.lock"; }

fs::path without_slash(fs::path path) { return path.has_filename() ? path : path.parent_path(); }  // "out/" is "out"

}  // namespace

bool in_use(const fs::path& directory) {
  const Descriptor fd(uninterrupted(
      [&] { return ::open(lock_of(directory).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK); }));
  if (fd.get() < 0) return false;  // nobody's, or no folder that one could lock
  struct flock lock = whole_file();
  return uninterrupted([&] { return ::fcntl(fd.get(), F_OFD_GETLK, &lock); }) == 0 && lock.l_type != F_UNLCK;
}

DirectoryLock::DirectoryLock(const fs::path& directory)
    : file_(lock_of(directory)), fd_(take(file_, directory, "choose another folder")) {
  sweep_under(file_, fd_, directory, "");
}

DirectoryLock::~DirectoryLock() { give_back(file_, fd_); }

OutputLock::OutputLock(const fs::path& output) {
  const fs::path named = without_slash(output);
  file_ = parent_of(named) / fmt::format(".{}.lowrank.lock", short_name(named.filename().string()));
  fd_ = take(file_, named, "choose another name");
  sweep_under(file_, fd_, parent_of(named), named.filename().string());
}

OutputLock::~OutputLock() { give_back(file_, fd_); }

}  // namespace lowrank::core
