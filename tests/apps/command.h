// The real command, run as a user runs it: arguments, environment and stdin in; exit code, stdout and stderr out.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

extern "C" char** environ;  // NOLINT: unistd.h declares it with _GNU_SOURCE only

#include "catch.h"

namespace lowrank_test {

struct CommandResult {
  int exit = -1;  // exit code; 128 + N when signal N ended it
  std::string out;
  std::string err;
};

/// A started command. Feeds stdin and reads both outputs without ever blocking on one of them.
class Command {
 public:
  /// `environment` is set on top of ours; an empty value removes the variable.
  explicit Command(const std::vector<std::string>& arguments,
                   const std::map<std::string, std::string>& environment = {}, std::string input = {},
                   const std::string& program = command().string())
      : input_(std::move(input)) {
    std::array<int, 2> in{}, out{}, err{};
    if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0 ||
        ::pipe2(err.data(), O_CLOEXEC) != 0) {
      throw std::runtime_error("pipe2 failed");
    }
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    ::posix_spawn_file_actions_adddup2(&actions, err[1], 2);
    std::vector<std::string> words = {program};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    std::vector<std::string> variables;
    for (char** v = environ; *v != nullptr; ++v) {
      const std::string variable = *v;
      if (environment.count(variable.substr(0, variable.find('='))) == 0) variables.push_back(variable);
    }
    for (const auto& [name, value] : environment) {
      if (!value.empty()) variables.push_back(name + "=" + value);
    }
    std::vector<char*> envp;
    for (std::string& variable : variables) envp.push_back(variable.data());
    envp.push_back(nullptr);
    // Under nohup this process ignores SIGHUP, and the command would rightly go on doing so.
    sigset_t usual;
    ::sigemptyset(&usual);
    for (const int signal : {SIGHUP, SIGINT, SIGQUIT}) ::sigaddset(&usual, signal);
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setsigdefault(&attributes, &usual);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    const int failed = ::posix_spawnp(&pid_, program.c_str(), &actions, &attributes, argv.data(), envp.data());
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    ::close(err[1]);
    in_ = in[1];
    out_ = out[0];
    err_ = err[0];
    if (failed != 0) throw std::runtime_error(program + ": " + std::strerror(failed));
    ::fcntl(in_, F_SETFL, O_NONBLOCK);
  }
  ~Command() {
    if (pid_ > 0 && !waited_) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    for (const int fd : {in_, out_, err_}) {
      if (fd >= 0) ::close(fd);
    }
  }
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }
  const std::string& out() const { return result_.out; }
  const std::string& err() const { return result_.err; }

  /// Pumps until `text` has come on stdout or stderr; false when the command ended or `seconds` passed before.
  bool wait_for(std::string_view text, double seconds = 60) {
    const auto there = [&] {
      return result_.out.find(text) != std::string::npos || result_.err.find(text) != std::string::npos;
    };
    for (int tenths = static_cast<int>(seconds * 10); tenths > 0 && !there(); --tenths) {
      if (!pump(100)) break;
    }
    return there();
  }

  /// To the end.
  CommandResult wait() {
    while (pump(1000)) {
    }
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    waited_ = true;
    result_.exit = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result_;
  }

 private:
  /// One round of reading and writing; false when both outputs are closed.
  bool pump(int milliseconds) {
    if (in_ >= 0 && written_ == input_.size()) {
      ::close(in_);
      in_ = -1;
    }
    std::array<pollfd, 3> fds = {{{in_, POLLOUT, 0}, {out_, POLLIN, 0}, {err_, POLLIN, 0}}};
    if (out_ < 0 && err_ < 0) return false;
    if (::poll(fds.data(), fds.size(), milliseconds) <= 0) return true;
    if (fds[0].revents != 0) {
      // The command may end without reading: its closed pipe must not end the tests.
      struct sigaction ignore {
      }, before{};
      ignore.sa_handler = SIG_IGN;
      ::sigaction(SIGPIPE, &ignore, &before);
      const ssize_t n = ::write(in_, input_.data() + written_, input_.size() - written_);
      ::sigaction(SIGPIPE, &before, nullptr);
      if (n > 0) written_ += static_cast<std::size_t>(n);
      if (n < 0 && errno != EAGAIN && errno != EINTR) written_ = input_.size();
    }
    read_into(fds[1].revents, out_, result_.out);
    read_into(fds[2].revents, err_, result_.err);
    return true;
  }

  static void read_into(short events, int& fd, std::string& text) {
    if (fd < 0 || events == 0) return;
    std::array<char, 65536> buffer;
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n > 0) {
      text.append(buffer.data(), static_cast<std::size_t>(n));
    } else if (n == 0 || errno != EINTR) {
      ::close(fd);
      fd = -1;
    }
  }

  pid_t pid_ = -1;
  int in_ = -1, out_ = -1, err_ = -1;
  bool waited_ = false;
  std::string input_;
  std::size_t written_ = 0;
  CommandResult result_;
};

/// `lowrank arguments...` to its end.
inline CommandResult run(const std::vector<std::string>& arguments,
                         const std::map<std::string, std::string>& environment = {}, const std::string& input = {}) {
  return Command(arguments, environment, input).wait();
}

}  // namespace lowrank_test
