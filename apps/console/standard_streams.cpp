#include "lowrank/apps/console/standard_streams.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace lowrank::apps {

namespace {

bool had_stdout = true;
int stdout_error = 0;  // the first

int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n > 0) {
      text.remove_prefix(static_cast<std::size_t>(n));
    } else if (n == 0) {
      return ENOSPC;
    } else if (errno == EAGAIN) {  // somebody else made the pipe or terminal non-blocking
      pollfd ready{fd, POLLOUT, 0};
      ::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace

void open_standard_streams() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) != -1 || errno != EBADF) continue;
    if (fd == STDOUT_FILENO) had_stdout = false;
    // The lowest free number, which is fd: those below are open.
    if (::open("/dev/null", O_RDWR) < 0) ::_exit(74);
  }
}

bool has_stdout() { return had_stdout; }

void set_has_stdout(bool has) { had_stdout = has; }

void write_stdout(std::string_view text) {
  if (stdout_error == 0) stdout_error = write_all(STDOUT_FILENO, text);
}

void write_stderr(std::string_view text) { write_all(STDERR_FILENO, text); }

void write_result(std::string_view text) {
  if (!had_stdout && stdout_error == 0) stdout_error = EBADF;
  write_stdout(text);
}

int checked_stdout(int code) {
  // Some file systems say only at a close that what was written is lost.
  const int copy = ::dup(STDOUT_FILENO);
  if (copy >= 0 && ::close(copy) != 0 && errno != EINTR && stdout_error == 0) stdout_error = errno;
  if (code != 0 || stdout_error == 0) return code;
  if (stdout_error == EPIPE) return 128 + SIGPIPE;
  write_stderr(fmt::format("lowrank: error: cannot write to stdout: {}; what was printed is not complete\n",
                           std::generic_category().message(stdout_error)));
  return 74;
}

}  // namespace lowrank::apps
