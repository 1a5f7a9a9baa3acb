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

/// Columns that a text takes on a terminal: code points (what we print has no wide or combining characters).
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string padded(const std::string& text, std::size_t width, bool left) {
  const std::size_t have = width_of(text);
  const std::string space(width > have ? width - have : 0, ' ');
  return left ? text + space : space + text;
}

void write_all(std::FILE* stream, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stream);
  std::fflush(stream);
}

}  // namespace

void print_out(std::string_view text) { write_all(stdout, text); }
void print_error(std::string_view text) { write_all(stderr, text); }

std::string shell_quoted(const std::string& argument) {
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) != 0 || std::string_view("-_./=:,+@%").find(static_cast<char>(c)) != std::string_view::npos;
  };
  if (!argument.empty() && std::all_of(argument.begin(), argument.end(), plain)) return argument;
  std::string quoted = "'";
  for (const char c : argument) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

Console::Console(const Options& options)
    : json_(options.has("json") && options.flag("json")), quiet_(options.has("quiet") && options.flag("quiet")) {}

bool Console::live() const {
  const char* term = std::getenv("TERM");
  return !quiet_ && !json_ && ::isatty(STDERR_FILENO) == 1 && (term == nullptr || std::string_view(term) != "dumb");
}

void Console::line(std::string_view text) const {
  if (silent()) return;
  print_out(fmt::format("{}\n", text));
}

void Console::warning(std::string_view text) const {
  if (quiet_) return;
  const bool colour = ::isatty(STDERR_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
  print_error(colour ? fmt::format("\033[33mwarning:\033[0m {}\n", text) : fmt::format("warning: {}\n", text));
}

void Console::result(const core::Json& object) const {
  if (json_) print_out(object.dump(2, ' ', false, core::Json::error_handler_t::replace) + "\n");
}

std::string table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(header.size());
  for (std::size_t c = 0; c < header.size(); ++c) {
    widths[c] = width_of(header[c]);
    for (const auto& row : rows) widths[c] = std::max(widths[c], c < row.size() ? width_of(row[c]) : 0);
  }
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (std::size_t c = 0; c < header.size(); ++c) {
      text += (c == 0 ? "" : "  ") + padded(c < cells.size() ? cells[c] : "", widths[c], c == 0);
    }
    return text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
  };
  std::size_t total = 0;
  for (const std::size_t w : widths) total += w;
  std::string text = line(header);
  for (std::size_t i = 0; i < total + 2 * (widths.size() - 1); ++i) text += "─";
  text += "\n";
  for (const auto& row : rows) text += line(row);
  return text;
}

std::string fields(const std::vector<std::pair<std::string, std::string>>& rows) {
  std::size_t width = 0;
  for (const auto& row : rows) width = std::max(width, width_of(row.first));
  std::string text;
  for (const auto& row : rows) text += padded(row.first, width, true) + "  " + row.second + "\n";
  return text;
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
  while (width_of(line) >= columns && !line.empty()) {  // cut by whole characters
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
  console_.warning(message);
}

void ConsoleProgress::note(const std::string& message) {
  bar_.clear();
  console_.line(message);
}

}  // namespace lowrank::apps
