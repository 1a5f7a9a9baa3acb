#include "lowrank/apps/console/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "lowrank/core/text.h"

namespace lowrank::apps {

namespace {

void write_all(std::FILE* stream, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stream);
  std::fflush(stream);
}

}  // namespace

void print_out(std::string_view text) { write_all(stdout, text); }
void print_error(std::string_view text) { write_all(stderr, text); }

Console::Console(const Options& options)
    : verb_(&options.verb()),
      json_(options.has("json") && options.flag("json")),
      quiet_(options.has("quiet") && options.flag("quiet")) {}

bool Console::live() const {
  const char* term = std::getenv("TERM");
  return !quiet_ && !json_ && ::isatty(STDERR_FILENO) == 1 && (term == nullptr || std::string_view(term) != "dumb");
}

void Console::line(std::string_view text) const {
  if (silent()) return;
  print_out(fmt::format("{}\n", text));
}

void Console::note(const std::string& text) const { line(as_flags(*verb_, text)); }

void Console::warning(std::string_view text) const {
  if (quiet_) return;
  const bool colour = ::isatty(STDERR_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
  print_error(colour ? fmt::format("\033[33mwarning:\033[0m {}\n", text) : fmt::format("warning: {}\n", text));
}

void Console::result(const core::Json& object) const {
  if (json_) print_out(object.dump(2, ' ', false, core::Json::error_handler_t::replace) + "\n");
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void Bar::draw(std::int64_t done, std::int64_t total, const std::string& text, bool force) {
  if (!live_) return;
  const double now = now_seconds();
  if (!force && drawn_ && now - last_ < 0.1) return;
  last_ = now;
  drawn_ = true;
  winsize size{};
  const std::size_t columns = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  std::string bar;
  if (total > 0) {
    const int cells = 20;
    const int full =
        static_cast<int>(cells * std::clamp<double>(static_cast<double>(done) / static_cast<double>(total), 0, 1));
    for (int i = 0; i < cells; ++i) bar += i < full ? "█" : "░";
    bar += fmt::format(" {:3.0f} %  ", 100.0 * static_cast<double>(done) / static_cast<double>(total));
  }
  std::string line = bar + text;
  while (core::width_of(line) >= columns && !line.empty()) {  // cut by whole characters
    do {
      line.pop_back();
    } while (!line.empty() && (static_cast<unsigned char>(line.back()) & 0xC0) == 0x80);
  }
  print_error("\r\033[K" + line);
}

void Bar::clear() {
  if (drawn_) print_error("\r\033[K");
  drawn_ = false;
}

void ConsoleProgress::begin(const std::string& what, std::int64_t total, const std::string& unit) {
  what_ = what;
  unit_ = unit;
  total_ = total;
}

void ConsoleProgress::advance(std::int64_t done) {
  bar_.draw(done, total_,
            fmt::format("{}  {}{} {}", what_, core::format_count(done),
                        total_ > 0 ? " of " + core::format_count(total_) : "", unit_));
}

void ConsoleProgress::end() { bar_.clear(); }

void ConsoleProgress::warning(const std::string& message) {
  bar_.clear();
  console_.warning(as_flags(console_.verb(), message));
}

void ConsoleProgress::note(const std::string& message) {
  bar_.clear();
  console_.note(message);
}

}  // namespace lowrank::apps
