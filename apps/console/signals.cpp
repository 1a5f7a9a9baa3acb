#include "lowrank/apps/console/signals.h"

#include <signal.h>
#include <unistd.h>

#include <cstring>

namespace lowrank::apps {

namespace {

std::atomic<int> stop_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "set inside a signal handler");

void on_stop(int number) {
  int none = 0;
  if (!stop_signal.compare_exchange_strong(none, number)) ::_exit(128 + number);
}

void on_bus_error(int) {
  static const char message[] =
      "lowrank: error: a file that is in use was cut or changed under the program (SIGBUS); nothing more was written\n";
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, message, sizeof(message) - 1);
  ::_exit(74);
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
}

std::atomic<int>& catch_stop_signals() {
  stop_signal = 0;
  set_handler(SIGINT, on_stop);
  set_handler(SIGTERM, on_stop);
  return stop_signal;
}

}  // namespace lowrank::apps
