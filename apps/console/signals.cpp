#include "lowrank/apps/console/signals.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

namespace lowrank::apps {

namespace {

std::atomic<int> stop_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "set inside a signal handler");

constexpr int kAskedAgain = 75;  // EX_TEMPFAIL
constexpr int kStopSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGXCPU, SIGUSR1};

std::atomic<bool> person_asked{false};  // by SIGINT or SIGTERM
bool catching = false;

void on_stop(int number) {
  int none = 0;
  stop_signal.compare_exchange_strong(none, number);
  const bool person = number == SIGINT || number == SIGTERM;
  if (!person || !person_asked.exchange(true)) return;
  static const char empty_line[] = "\r\033[K";  // where a bar may stand
  if (::isatty(STDERR_FILENO) == 1) {
    [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, empty_line, sizeof(empty_line) - 1);
  }
  ::_exit(128 + number);
}

void on_warning_too_early(int) { ::_exit(kAskedAgain); }  // nothing has begun that could be saved

void on_bus_error(int) {
  static const char message[] =
      "lowrank: error: a file that is in use was cut or changed under the program (SIGBUS); nothing more was written\n";
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, message, sizeof(message) - 1);
  ::_exit(74);
}

// oneDNN writes through the null that its allocator gave it. A bad access while no memory can be had is memory's end; any
// other is a fault of ours, and ends as such.
void on_bad_access(int number) {
  constexpr std::size_t kProbe = std::size_t{64} << 20;
  if (::mmap(nullptr, kProbe, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
    static const char message[] =
        "lowrank: error: memory ran out: raise the limit (of ulimit -v, the control group or the machine)\n";
    [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, message, sizeof(message) - 1);
    ::_exit(74);
  }
  ::signal(number, SIG_DFL);  // and it comes again
}

void set_handler(int number, void (*handler)(int)) {
  struct sigaction action;
  std::memset(&action, 0, sizeof(action));
  action.sa_handler = handler;
  ::sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  ::sigaction(number, &action, nullptr);
}

}  // namespace

void install_signal_handlers() {
  set_handler(SIGXFSZ, SIG_IGN);
  set_handler(SIGPIPE, SIG_IGN);
  set_handler(SIGBUS, on_bus_error);
  set_handler(SIGSEGV, on_bad_access);
  set_handler(SIGUSR1, on_warning_too_early);
}

std::atomic<int>& catch_stop_signals() {
  if (catching) return stop_signal;  // one that came between two pieces of work is for the next
  catching = true;
  stop_signal = 0;
  person_asked = false;
  for (const int number : kStopSignals) {
    struct sigaction before {};
    if (::sigaction(number, nullptr, &before) == 0 && number == SIGHUP && before.sa_handler == SIG_IGN) continue;
    set_handler(number, on_stop);
  }
  return stop_signal;
}

void release_stop_signals() {
  catching = false;
  for (const int number : kStopSignals) {
    struct sigaction before {};
    if (::sigaction(number, nullptr, &before) == 0 && before.sa_handler == on_stop) set_handler(number, SIG_DFL);
  }
  set_handler(SIGUSR1, on_warning_too_early);
}

int exit_code_of(int signal) { return signal == SIGUSR1 ? kAskedAgain : 128 + signal; }

}  // namespace lowrank::apps
