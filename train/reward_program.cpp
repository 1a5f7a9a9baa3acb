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
#include <cstdlib>
#include <cstring>

#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"
#include "lowrank/train/reward_reply.h"

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

/// What a shell is started with: `input` and `output` as its descriptors 0 and 1 (-1: ours), the leader of a process
/// group of its own: what it starts can be ended with it, and Ctrl-C in a terminal is ours to handle.
pid_t spawn_shell(const std::vector<std::string>& words, int input, int output, const std::vector<std::string>& names) {
  std::vector<std::string> arguments = {"/bin/sh", "-c"}, variables = {};
  arguments.insert(arguments.end(), words.begin(), words.end());
  for (const std::string& name : names) {
    if (const char* value = std::getenv(name.c_str())) variables.push_back(name + "=" + value);
  }
  const auto pointers = [](std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (std::string& text : texts) result.push_back(text.data());
    result.push_back(nullptr);
    return result;
  };
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, input, 0);
  if (output >= 0) ::posix_spawn_file_actions_adddup2(&actions, output, 1);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  sigset_t none, defaults;
  ::sigemptyset(&none);
  ::sigemptyset(&defaults);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ}) ::sigaddset(&defaults, signal);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  pid_t child = -1;
  const int error = ::posix_spawn(&child, "/bin/sh", &actions, &attributes, pointers(arguments).data(),
                                  pointers(variables).data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) throw IoError("the reward program could not be started: " + std::string(std::strerror(error)));
  return child;
}

void reap(pid_t child) {
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void close_if_open(int& descriptor) {
  if (descriptor >= 0) ::close(descriptor);
  descriptor = -1;
}

}  // namespace

RewardProgram::RewardProgram(std::string command, double timeout_seconds, std::vector<std::string> environment)
    : command_(std::move(command)), timeout_(timeout_seconds), environment_(std::move(environment)) {
  environment_.insert(environment_.end(), {"PATH", "HOME", "LANG", "TMPDIR"});
}

RewardProgram::~RewardProgram() { stop(); }

void RewardProgram::start() {
  // A socket, since writing to a pipe whose reader has died raises a signal.
  int pair[2], line[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    throw IoError(std::string("no socket for the reward program: ") + std::strerror(errno));
  }
  socket_ = pair[0];
  if (::pipe2(line, O_CLOEXEC) != 0) {
    const std::string problem = std::strerror(errno);
    ::close(pair[1]);
    stop();
    throw IoError("no pipe for the reward program: " + problem);
  }
  lifeline_ = line[1];
  try {
    child_ = spawn_shell({command_}, pair[1], pair[1], environment_);
    // However we end, the pipe's other end closes, and the watcher's read comes back.
    watcher_ = spawn_shell({"read -r line; kill -s KILL -- \"-$0\"", std::to_string(child_)}, line[0], -1, {"PATH"});
  } catch (const Error&) {
    ::close(pair[1]);
    ::close(line[0]);
    stop();
    throw;
  }
  ::close(pair[1]);
  ::close(line[0]);
}

void RewardProgram::stop() {
  close_if_open(socket_);
  received_.clear();
  if (child_ >= 0) ::kill(-child_, SIGKILL);
  if (watcher_ >= 0) ::kill(watcher_, SIGKILL);  // before the program's number is free for another
  if (watcher_ >= 0) reap(watcher_);
  if (child_ >= 0) reap(child_);
  child_ = watcher_ = -1;
  close_if_open(lifeline_);
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

/// Nothing may have come that was not asked for: it would be taken for the next answer.
void RewardProgram::check_silence(const Answer& answer) {
  pollfd entry = {socket_, POLLIN, 0};
  if (received_.empty() && ::poll(&entry, 1, 0) > 0 && (entry.revents & POLLIN) != 0) {
    char byte = 0;
    if (::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1) received_ += byte;
  }
  if (!received_.empty()) fail(answer, "wrote more than one line for one request");
}

double RewardProgram::score(const Answer& answer) {
  if (child_ < 0) start();
  check_silence(answer);
  core::Json request = {{"id", ++asked_}, {"prompt", answer.prompt}, {"response", answer.response}};
  if (answer.expected) request["answer"] = *answer.expected;
  send(core::json_text(request) + "\n", answer);
  const std::string line = receive(answer);
  try {
    const double score = score_of_reply(line, asked_);
    check_silence(answer);
    return score;
  } catch (const FormatError& error) {
    fail(answer, fmt::format("wrote '{}' ({})", core::printable(line, 80), error.what()));
  }
}

}  // namespace lowrank::train
