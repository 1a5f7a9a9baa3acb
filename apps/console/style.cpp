#include "lowrank/apps/console/style.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

namespace lowrank::apps {

bool stdout_is_terminal() { return ::isatty(STDOUT_FILENO) == 1; }

bool stdout_is_styled() {
  const char* term = std::getenv("TERM");
  const char* no_color = std::getenv("NO_COLOR");
  return stdout_is_terminal() && (no_color == nullptr || *no_color == '\0') &&
         (term == nullptr || std::string_view(term) != "dumb");
}

std::string dim(std::string_view text) {
  return stdout_is_styled() ? fmt::format("\033[2m{}\033[0m", text) : std::string(text);
}

std::string bold(std::string_view text) {
  return stdout_is_styled() ? fmt::format("\033[1m{}\033[0m", text) : std::string(text);
}

}  // namespace lowrank::apps
