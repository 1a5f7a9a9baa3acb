// By how much memory a call grows a process.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <sstream>
#include <string>

#include "catch.h"

namespace lowrank_test {

/// Of a process of its own, for a peak of its own; nothing under sanitizers, whose shadow and quarantine are counted too.
template <typename Call>
std::size_t peak_growth(const Call& call) {
  const auto kilobytes = [](const std::string& field) {
    std::istringstream status(read_text("/proc/self/status"));
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with(field)) return std::stoul(line.substr(field.size()));
    }
    return 0UL;
  };
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const std::size_t begin = kilobytes("VmRSS:");
    try {
      call();
    } catch (...) {
      ::_exit(1);
    }
    std::size_t grown = 1024 * (kilobytes("VmHWM:") - begin);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    grown = 0;
#endif
    ::_exit(::write(ends[1], &grown, sizeof grown) == static_cast<ssize_t>(sizeof grown) ? 0 : 1);
  }
  ::close(ends[1]);
  std::size_t grown = SIZE_MAX;
  const ssize_t got = ::read(ends[0], &grown, sizeof grown);
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
  return got == static_cast<ssize_t>(sizeof grown) ? grown : SIZE_MAX;
}

}  // namespace lowrank_test
