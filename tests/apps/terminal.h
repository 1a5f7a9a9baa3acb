// The real command at a terminal of its own: keys in, what it draws out.
#pragma once

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "catch.h"

namespace lowrank_test {

class Terminal {
 public:
  /// `environment` is set on top of ours; an empty value removes the variable.
  Terminal(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment) {
    std::vector<std::string> words = {command().string()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_ = ::forkpty(&terminal_, nullptr, nullptr, nullptr);
    if (pid_ == 0) {
      for (const auto& [name, value] : environment) {
        if (value.empty()) {
          ::unsetenv(name.c_str());
        } else {
          ::setenv(name.c_str(), value.c_str(), 1);
        }
      }
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
  }
  ~Terminal() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    if (terminal_ >= 0) ::close(terminal_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void type(const std::string& keys) { REQUIRE(::write(terminal_, keys.data(), keys.size()) == static_cast<ssize_t>(keys.size())); }
  /// Whether `text` is drawn behind what was waited for before.
  bool wait_for(const std::string& text, double seconds = 60) {
    for (int tenths = static_cast<int>(seconds * 10); tenths > 0; --tenths) {
      if (const std::size_t at = drawn_.find(text, seen_); at != std::string::npos) {
        seen_ = at + text.size();
        return true;
      }
      if (!pump()) break;
    }
    return drawn_.find(text, seen_) != std::string::npos;
  }
  /// To the end: the exit code, 128 + N where signal N ended it.
  int wait() {
    while (pump()) {
    }
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  const std::string& drawn() const { return drawn_; }

 private:
  bool pump() {
    pollfd ready{terminal_, POLLIN, 0};
    if (::poll(&ready, 1, 100) <= 0) return true;
    std::array<char, 65536> buffer;
    const ssize_t n = ::read(terminal_, buffer.data(), buffer.size());
    if (n > 0) drawn_.append(buffer.data(), static_cast<std::size_t>(n));
    return n > 0 || (n < 0 && errno == EINTR);
  }

  pid_t pid_ = -1;
  int terminal_ = -1;
  std::string drawn_;
  std::size_t seen_ = 0;
};

}  // namespace lowrank_test
