#include "lowrank/apps/console/style.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

namespace lowrank::apps {

bool stdout_is_terminal() { return ::isatty(STDOUT_FILENO) == 1; }

std::size_t stdout_columns() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* columns = std::getenv("COLUMNS");
  const int asked = columns == nullptr ? 0 : std::atoi(columns);
  return asked >= 20 ? static_cast<std::size_t>(asked) : 80;
}

bool stdout_is_styled() {
  const char* term = std::getenv("TERM");
  const char* no_color = std::getenv("NO_COLOR");
  return stdout_is_terminal() && (no_color == nullptr || *no_color == '\0') &&
         (term == nullptr || std::string_view(term) != "dumb");
}

namespace {

constexpr std::string_view kDim = "\xEF\xB7\x90", kBold = "\xEF\xB7\x91", kPlain = "\xEF\xB7\x92";

std::string marked(std::string_view mark, std::string_view text) {
  return stdout_is_styled() ? fmt::format("{}{}{}", mark, text, kPlain) : std::string(text);
}

}  // namespace

std::string dim(std::string_view text) { return marked(kDim, text); }

std::string bold(std::string_view text) { return marked(kBold, text); }

std::string with_styles(std::string text) {
  if (!stdout_is_styled()) return text;
  for (const auto& [mark, code] : {std::pair{kDim, "\033[2m"}, {kBold, "\033[1m"}, {kPlain, "\033[0m"}}) {
    for (std::size_t at = 0; (at = text.find(mark, at)) != std::string::npos;) text.replace(at, mark.size(), code);
  }
  return text;
}

}  // namespace lowrank::apps
