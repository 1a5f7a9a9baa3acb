#include "lowrank/apps/console/live_lines.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lowrank/apps/console/standard_streams.h"
#include "lowrank/core/table.h"
#include "lowrank/core/visible.h"

namespace lowrank::apps {

namespace {

std::size_t drawn = 0;  // lines; the process has one terminal

/// To the start of the first line that is drawn, with everything below it gone.
std::string back_to_start() { return drawn == 0 ? "" : fmt::format("\r\033[{}A\033[J", drawn); }

std::string cut(std::string line, std::size_t columns) {
  while (core::width_of(line) >= columns && !line.empty()) {  // by whole characters
    do {
      line.pop_back();
    } while (!line.empty() && (static_cast<unsigned char>(line.back()) & 0xC0) == 0x80);
  }
  return line;
}

}  // namespace

TerminalSize terminal_size() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {size.ws_col, size.ws_row};
}

void draw_live(const std::vector<std::string>& lines) {
  const std::size_t columns = terminal_size().columns;
  std::string text = back_to_start();
  for (const std::string& line : lines) text += cut(core::visible_line(line), columns) + "\n";
  drawn = lines.size();
  write_stderr(text);
}

void clear_live() {
  if (drawn == 0) return;
  const std::string text = back_to_start();
  drawn = 0;
  write_stderr(text);
}

}  // namespace lowrank::apps
