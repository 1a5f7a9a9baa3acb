#include "lowrank/apps/console/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "lowrank/apps/console/live_lines.h"
#include "lowrank/apps/console/standard_streams.h"
#include "lowrank/apps/console/style.h"
#include "lowrank/apps/console/wrap.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"
#include "lowrank/core/visible.h"

namespace lowrank::apps {

void print_out(std::string_view lines) {
  clear_live();
  write_stdout(with_styles(core::visible_lines(lines)));
}
void print_lines(std::string_view lines) { print_out(stdout_is_terminal() ? laid_out(lines, stdout_columns()) : std::string(lines)); }
void print_error(std::string_view lines) {
  clear_live();
  write_stderr(core::visible_lines(lines));
}
void print_error_line(std::string_view line) {
  clear_live();
  write_stderr(core::visible_line(line) + "\n");
}
void print_answer(std::string_view text) {
  clear_live();
  write_stdout(stdout_is_terminal() ? core::visible_prose(text) : std::string(text));
}

namespace {

bool others_are_speaking = false;  // set once, before there is a console

}  // namespace

void leave_speaking_to_others() { others_are_speaking = true; }

Console::Console(const Options& options)
    : verb_(&options.verb()),
      json_(options.has("json") && options.flag("json")),
      quiet_(others_are_speaking || (options.has("quiet") && options.flag("quiet"))),
      plain_(options.has("plain") && options.flag("plain")) {}

bool Console::live() const {
  const char* term = std::getenv("TERM");
  return !quiet_ && !json_ && !plain_ && ::isatty(STDERR_FILENO) == 1 && (term == nullptr || std::string_view(term) != "dumb");
}

void Console::line(std::string_view one) const {
  text(core::visible_line(one) + "\n");
}

void Console::text(std::string_view lines) const {
  if (!silent()) print_lines(lines);
}

void Console::note(const std::string& text) const { line(as_flags(*verb_, text)); }

void Console::warning(std::string_view text) const {
  if (quiet_) return;
  clear_live();
  constexpr std::string_view kWarning = "warning:";
  const bool terminal = ::isatty(STDERR_FILENO) == 1, colour = terminal && std::getenv("NO_COLOR") == nullptr;
  std::string line = fmt::format("{} {}\n", kWarning, core::visible_line(text));
  if (terminal) line = wrapped(line, terminal_size().columns, kWarning.size() + 1);
  if (colour) line.replace(0, kWarning.size(), fmt::format("\033[33m{}\033[0m", kWarning));
  write_stderr(line);
}

void Console::result(const core::Json& object) const {
  if (json_ && !others_are_speaking) write_result(core::visible_json(core::json_text(object, 2)) + "\n");
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool Bar::due(bool force) {
  const double now = now_seconds();
  if (!live_ || (!force && drawn_ && now - last_ < 0.1)) return false;
  last_ = now;
  drawn_ = true;
  return true;
}

void Bar::draw(std::int64_t done, std::int64_t total, const std::string& text, bool force) {
  if (due(force)) draw_live({bar_text(done, total) + text});
}

void Bar::draw(const std::vector<std::string>& lines, bool force) {
  if (due(force)) draw_live(lines);
}

void Bar::clear() {
  if (drawn_) clear_live();
  drawn_ = false;
}

std::string bar_text(std::int64_t done, std::int64_t total) {
  if (total <= 0) return "";
  constexpr int kCells = 20;
  const double share = std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
  std::string bar;
  for (int i = 0; i < kCells; ++i) bar += i < static_cast<int>(kCells * share) ? "█" : "░";
  return bar + fmt::format(" {:3.0f} %  ", 100.0 * share);
}

void ConsoleProgress::begin(const std::string& what, std::int64_t total, const std::string& unit) {
  what_ = what;
  unit_ = unit;
  total_ = total;
  begun_ = now_seconds();
  bar_.draw(0, total_, what_ + " …", true);
}

void ConsoleProgress::advance(std::int64_t done) {
  constexpr double kLong = 2;  // seconds
  if (!console_.live()) {
    if (!console_.silent() && now_seconds() - begun_ > kLong && said_.insert(what_).second) print_error_line(what_ + " …");
    return;
  }
  const bool bytes = unit_ == "bytes";
  const auto shown = [&](std::int64_t n) {
    return bytes ? core::format_bytes(static_cast<std::uint64_t>(n)) : core::format_count(n);
  };
  bar_.draw(done, total_,
            fmt::format("{}  {}{}{}", what_, shown(done), total_ > 0 ? " of " + shown(total_) : "", bytes ? "" : " " + unit_));
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
