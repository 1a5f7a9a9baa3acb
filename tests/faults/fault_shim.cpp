// The C library's functions by their own names: in a test program the linker takes these for our static libraries, preloaded
// the loader does, and libstdc++'s std::filesystem finds them too. Each counts, then makes the system call itself.
#include "fault_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "power_loss.h"

namespace lowrank_test {
namespace {

enum class Action { kNone, kKill, kFail, kInterrupt, kShort, kPower };

std::recursive_mutex mutex;  // of threads that write; kept for the length of a call
int counted = 0, at = 0, fail_error = 0;
bool armed = false, fail_lasting = false;
Action action = Action::kNone;
Loss loss = Loss::kAll;
std::string under;  // empty: everything
PowerLoss* journal = nullptr;

void arm(Action what, int n, int error, bool lasting) {
  counted = 0;
  action = what;
  at = n;
  fail_error = error;
  fail_lasting = lasting;
  armed = true;
}

std::string path_of(int fd) {
  char link[64], name[4096];
  ::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const long n = ::syscall(SYS_readlinkat, AT_FDCWD, link, name, sizeof name);
  return n > 0 ? std::string(name, static_cast<std::size_t>(n)) : "";
}

std::string whole(int folder, const char* path) {
  if (path[0] == '/') return path;
  char here[4096];
  const std::string base = folder != AT_FDCWD ? path_of(folder) : ::getcwd(here, sizeof here) != nullptr ? here : "";
  return base + "/" + path;
}

bool counts(const std::string& path) { return under.empty() || path.starts_with(under + "/") || path == under; }

/// A call on the counted files begins. `interruptible`: may come back with EINTR.
enum class Verdict { kGo, kFail, kHalf };
Verdict enter(bool writes, bool interruptible) {
  if (!armed) return Verdict::kGo;
  ++counted;
  const bool now = counted == at;
  switch (action) {
    case Action::kKill:
      if (now) ::syscall(SYS_kill, ::getpid(), SIGKILL);
      return Verdict::kGo;
    case Action::kFail:
      if (!now && !(fail_lasting && writes && counted > at)) return Verdict::kGo;
      errno = fail_error;
      return Verdict::kFail;
    case Action::kInterrupt:
      if (!now || !interruptible) return Verdict::kGo;
      errno = EINTR;
      return Verdict::kFail;
    case Action::kShort:
      return now && writes ? Verdict::kHalf : Verdict::kGo;
    case Action::kPower:
      if (!now) return Verdict::kGo;
      armed = false;
      journal->strike(loss, static_cast<unsigned>(at));
      ::syscall(SYS_kill, ::getpid(), SIGKILL);
      return Verdict::kGo;
    case Action::kNone:
      return Verdict::kGo;
  }
  return Verdict::kGo;
}

/// A call that changes names in folders: whether it is made. `path` and `other` as they were given.
template <class Call, class Note>
int names(const std::string& path, Call&& call, Note&& note) {
  const std::lock_guard lock(mutex);
  if (!counts(path)) return call();
  if (enter(false, false) != Verdict::kGo) return -1;
  if (journal == nullptr) return call();
  return note(std::forward<Call>(call));
}

bool makes(int flags) { return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE; }

int open_at(int folder, const char* path, int flags, mode_t mode) {
  const auto call = [&] { return static_cast<int>(::syscall(SYS_openat, folder, path, flags | O_LARGEFILE, mode)); };
  if ((flags & O_ACCMODE) == O_RDONLY || !armed) return call();
  const std::string name = whole(folder, path);
  const std::lock_guard lock(mutex);
  if (!counts(name)) return call();
  struct stat status {};
  const bool there = ::lstat(name.c_str(), &status) == 0;
  if (!there && enter(false, true) != Verdict::kGo) return -1;
  const int fd = call();
  if (fd >= 0 && journal != nullptr) there ? journal->opened(fd) : journal->made(name, fd);
  return fd;
}

int remove_at(int folder, const char* path, int flags) {
  const std::string name = whole(folder, path);
  const auto call = [&] { return static_cast<int>(::syscall(SYS_unlinkat, folder, path, flags)); };
  return names(name, call, [&](const auto& made) { return journal->removing(name, made); });
}

int rename_at(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) {
  const std::string source = whole(from_folder, from), target = whole(to_folder, to);
  const auto call = [&] {
    return static_cast<int>(::syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
  };
  return names(target, call, [&](const auto& made) { return journal->renaming(source, target, made); });
}

template <class Call>
int synced(int fd, Call&& call) {
  const std::lock_guard lock(mutex);
  if (armed && counts(path_of(fd))) {
    if (enter(false, true) != Verdict::kGo) return -1;
    if (journal != nullptr) journal->synced(fd, path_of(fd));
  }
  return call();
}

template <class Call>
ssize_t written(int fd, size_t size, Call&& call) {
  if (!armed || fd <= 2) return call(size);  // the console is not part of a run's files
  const std::lock_guard lock(mutex);
  if (!counts(path_of(fd))) return call(size);
  const Verdict verdict = enter(true, true);
  if (verdict == Verdict::kFail) return -1;
  return call(verdict == Verdict::kHalf && size > 1 ? size / 2 : size);
}

void write_count() {
  const char* const file = ::getenv("LOWRANK_FAULT_COUNT");
  if (file == nullptr) return;
  armed = false;
  if (FILE* out = ::fopen(file, "w")) {
    ::fprintf(out, "%d\n", counted);
    ::fclose(out);
  }
}

const bool preloaded = [] {
  const char* const folder = ::getenv("LOWRANK_FAULT_UNDER");
  if (folder == nullptr) return false;
  under = folder;
  const char* const text = ::getenv("LOWRANK_FAULT");
  const std::string fault = text == nullptr ? "" : text;
  const std::size_t colon = fault.find(':');
  const std::string what = fault.substr(0, colon);
  const int n = colon == std::string::npos ? 0 : ::atoi(fault.c_str() + colon + 1);
  static const std::map<std::string, int> kErrors = {{"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EIO", EIO}};
  static const std::map<std::string, Loss> kLosses = {{"power", Loss::kAll}, {"bytes", Loss::kBytes}, {"mixed", Loss::kMixed}};
  if (what == "kill") {
    arm(Action::kKill, n, 0, false);
  } else if (const auto error = kErrors.find(what); error != kErrors.end()) {
    arm(Action::kFail, n, error->second, true);
  } else if (what == "EINTR") {
    arm(Action::kInterrupt, n, 0, false);
  } else if (what == "short") {
    arm(Action::kShort, n, 0, false);
  } else if (const auto power = kLosses.find(what); power != kLosses.end()) {
    loss = power->second;
    journal = new PowerLoss(under);  // as old as the process
    arm(Action::kPower, n, 0, false);
  } else {
    arm(Action::kNone, 0, 0, false);
  }
  std::atexit(write_count);
  std::at_quick_exit(write_count);
  return true;
}();

}  // namespace

void kill_at_call(int n) { arm(Action::kKill, n, 0, false); }
void fail_at_call(int n, int error, bool lasting) { arm(Action::kFail, n, error, lasting); }
void count_calls() { arm(Action::kNone, 0, 0, false); }
int calls_counted() {
  armed = false;
  return counted;
}

}  // namespace lowrank_test

using namespace lowrank_test;

extern "C" {

int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = makes(flags) ? va_arg(more, mode_t) : 0;
  va_end(more);
  return open_at(AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) __attribute__((alias("open")));
int openat(int folder, const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = makes(flags) ? va_arg(more, mode_t) : 0;
  va_end(more);
  return open_at(folder, path, flags, mode);
}
int openat64(int folder, const char* path, int flags, ...) __attribute__((alias("openat")));

ssize_t write(int fd, const void* data, size_t size) {
  return written(fd, size, [&](size_t n) { return ::syscall(SYS_write, fd, data, n); });
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  return written(fd, size, [&](size_t n) { return ::syscall(SYS_pwrite64, fd, data, n, offset); });
}
ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) __attribute__((alias("pwrite")));
int fsync(int fd) {
  return synced(fd, [&] { return static_cast<int>(::syscall(SYS_fsync, fd)); });
}
int fdatasync(int fd) {
  return synced(fd, [&] { return static_cast<int>(::syscall(SYS_fdatasync, fd)); });
}
int ftruncate(int fd, off_t size) noexcept {
  const std::lock_guard lock(mutex);
  if (armed && counts(path_of(fd)) && enter(false, true) != Verdict::kGo) return -1;
  return static_cast<int>(::syscall(SYS_ftruncate, fd, size));
}
int rename(const char* from, const char* to) noexcept { return rename_at(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat2(int from_fd, const char* from, int to_fd, const char* to, unsigned flags) noexcept {
  return rename_at(from_fd, from, to_fd, to, flags);
}
int mkdir(const char* path, mode_t mode) noexcept {
  const std::string name = whole(AT_FDCWD, path);
  const auto call = [&] { return static_cast<int>(::syscall(SYS_mkdirat, AT_FDCWD, path, mode)); };
  return names(name, call, [&](const auto& made) { return journal->making(name, made); });
}
int symlink(const char* target, const char* path) noexcept {
  const std::string name = whole(AT_FDCWD, path);
  const auto call = [&] { return static_cast<int>(::syscall(SYS_symlinkat, target, AT_FDCWD, path)); };
  return names(name, call, [&](const auto& made) { return journal->making(name, made); });
}
int unlink(const char* path) noexcept { return remove_at(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char* path, int flags) noexcept { return remove_at(folder, path, flags); }
// A clock that goes back by LOWRANK_CLOCK_BACK seconds at every look at it; not the one that only counts.
int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const int result = static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
  static const char* const back = ::getenv("LOWRANK_CLOCK_BACK");
  if (back == nullptr || clock != CLOCK_REALTIME || result != 0) return result;
  static std::atomic<long> looks = 0;
  time->tv_sec -= ::atol(back) * ++looks;
  return result;
}

int remove(const char* path) noexcept {
  const int result = remove_at(AT_FDCWD, path, 0);
  return result != 0 && errno == EISDIR ? remove_at(AT_FDCWD, path, AT_REMOVEDIR) : result;
}
int rmdir(const char* path) noexcept { return remove_at(AT_FDCWD, path, AT_REMOVEDIR); }

}  // extern "C"
