#include "lowrank/train/reward_program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>

#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/core/text.h"

extern char** environ;

namespace lowrank::train {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kLongestLine = 1 << 20;  // of what the program writes

int milliseconds_until(Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left + 1, 0, 1'000'000'000));
}

/// Waits until the socket can do `what`; false when the deadline has passed.
bool ready(int socket, short what, Clock::time_point deadline) {
  for (;;) {
    pollfd entry = {socket, what, 0};
    const int n = ::poll(&entry, 1, milliseconds_until(deadline));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return true;  // the read or write will say what is wrong
    if (Clock::now() >= deadline) return false;
  }
}

Clock::time_point after(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

}  // namespace

RewardProgram::RewardProgram(std::string command, double timeout_seconds)
    : command_(std::move(command)), timeout_(timeout_seconds) {}

RewardProgram::~RewardProgram() { stop(); }

void RewardProgram::start() {
  // A socket, since writing to a pipe whose reader has died raises a signal.
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    throw IoError(std::string("no socket for the reward program: ") + std::strerror(errno));
  }
  socket_ = pair[0];
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, pair[1], 0);
  ::posix_spawn_file_actions_adddup2(&actions, pair[1], 1);
  ::posix_spawnattr_init(&attributes);
  // A process group of its own: what the shell starts can be ended with it, and Ctrl-C in a terminal is ours to handle.
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  sigset_t none, defaults;
  ::sigemptyset(&none);
  ::sigemptyset(&defaults);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::sigaddset(&defaults, signal);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  std::string shell = "/bin/sh", flag = "-c";
  char* arguments[] = {shell.data(), flag.data(), command_.data(), nullptr};
  const int error = ::posix_spawn(&child_, shell.c_str(), &actions, &attributes, arguments, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  ::close(pair[1]);
  if (error != 0) {
    child_ = -1;
    stop();
    throw IoError("the reward program could not be started: " + std::string(std::strerror(error)));
  }
}

void RewardProgram::stop() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
  received_.clear();
  if (child_ < 0) return;
  ::kill(-child_, SIGKILL);
  while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
  }
  child_ = -1;
}

void RewardProgram::fail(const Answer& answer, const std::string& problem) {
  stop();
  throw DataError(
      fmt::format("{}: the reward program ({}) {}; it must write one line {{\"score\": X}} for each line it "
                  "reads, and flush it; mend it and go on with `resume`",
                  answer.where, core::printable(command_, 80), problem));
}

void RewardProgram::send(const std::string& line, const Answer& answer) {
  const Clock::time_point deadline = after(timeout_);
  for (std::size_t done = 0; done < line.size();) {
    if (!ready(socket_, POLLOUT, deadline)) fail(answer, fmt::format("did not read its input within {} s", timeout_));
    const ssize_t n = ::send(socket_, line.data() + done, line.size() - done, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) fail(answer, "has ended without a score");
    done += static_cast<std::size_t>(n);
  }
}

std::string RewardProgram::receive(const Answer& answer) {
  const Clock::time_point deadline = after(timeout_);
  for (;;) {
    const std::size_t end = received_.find('\n');
    if (end != std::string::npos) {
      std::string line = received_.substr(0, end);
      received_.erase(0, end + 1);
      return line;
    }
    if (received_.size() > kLongestLine) fail(answer, "wrote a line of more than 1 MiB");
    if (!ready(socket_, POLLIN, deadline)) {
      fail(answer, fmt::format("gave no score within {} s (`reward-timeout`)", timeout_));
    }
    char buffer[4096];
    const ssize_t n = ::recv(socket_, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) fail(answer, "has ended without a score");
    received_.append(buffer, static_cast<std::size_t>(n));
  }
}

double RewardProgram::score(const Answer& answer) {
  if (child_ < 0) start();
  core::Json request = {{"prompt", answer.prompt}, {"response", answer.response}};
  if (answer.expected) request["answer"] = *answer.expected;
  send(request.dump(-1, ' ', false, core::Json::error_handler_t::replace) + "\n", answer);
  const std::string line = receive(answer);
  try {
    const core::Json reply = core::parse_json(line, "its reply");
    return core::JsonView(reply, "its reply").at("score").as_double();
  } catch (const FormatError& error) {
    fail(answer, fmt::format("wrote '{}' ({})", core::printable(line, 80), error.what()));
  }
}

}  // namespace lowrank::train
