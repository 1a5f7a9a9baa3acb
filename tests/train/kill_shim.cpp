// The C library's functions by their own names, defined in the test program: the linker takes these for our static
// libraries, and libstdc++'s std::filesystem finds them too. Each counts, then makes the system call itself.
#include "kill_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace lowrank_test {
namespace {

int counted = 0, kill_at = 0, fail_at = 0, fail_error = 0;
bool armed = false, fail_lasting = false;

void arm(int kill, int fail, int error, bool lasting) {
  counted = 0;
  kill_at = kill;
  fail_at = fail;
  fail_error = error;
  fail_lasting = lasting;
  armed = true;
}

/// True when the call is to fail.
bool enter() {
  if (!armed) return false;
  ++counted;
  if (counted == kill_at) ::syscall(SYS_kill, ::getpid(), SIGKILL);
  if (fail_at != 0 && (counted == fail_at || (fail_lasting && counted > fail_at))) {
    errno = fail_error;
    return true;
  }
  return false;
}

}  // namespace

void kill_at_call(int n) { arm(n, 0, 0, false); }
void fail_at_call(int n, int error, bool lasting) { arm(0, n, error, lasting); }
void count_calls() { arm(0, 0, 0, false); }
int calls_counted() {
  armed = false;
  return counted;
}

}  // namespace lowrank_test

using lowrank_test::enter;

extern "C" {

ssize_t write(int fd, const void* data, size_t size) {
  // The console is not part of a run's files.
  if (fd > 2 && enter()) return -1;
  return ::syscall(SYS_write, fd, data, size);
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  return enter() ? -1 : ::syscall(SYS_pwrite64, fd, data, size, offset);
}
int fsync(int fd) { return enter() ? -1 : static_cast<int>(::syscall(SYS_fsync, fd)); }
int fdatasync(int fd) { return enter() ? -1 : static_cast<int>(::syscall(SYS_fdatasync, fd)); }
int ftruncate(int fd, off_t size) noexcept {
  return enter() ? -1 : static_cast<int>(::syscall(SYS_ftruncate, fd, size));
}
int rename(const char* from, const char* to) noexcept {
  return enter() ? -1 : static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
int renameat2(int from_fd, const char* from, int to_fd, const char* to, unsigned flags) noexcept {
  return enter() ? -1 : static_cast<int>(::syscall(SYS_renameat2, from_fd, from, to_fd, to, flags));
}
int mkdir(const char* path, mode_t mode) noexcept {
  return enter() ? -1 : static_cast<int>(::syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}
int unlink(const char* path) noexcept {
  return enter() ? -1 : static_cast<int>(::syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}
int unlinkat(int fd, const char* path, int flags) noexcept {
  return enter() ? -1 : static_cast<int>(::syscall(SYS_unlinkat, fd, path, flags));
}
int rmdir(const char* path) noexcept {
  return enter() ? -1 : static_cast<int>(::syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR));
}

}  // extern "C"
