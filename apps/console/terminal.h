// The only place that writes to stdout and stderr: lines, tables, the live bar. What it is given is made safe to show
// here (core/visible.h), wherever the words come from.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/apps/console/options.h"
#include "lowrank/core/json.h"
#include "lowrank/core/progress.h"
#include "lowrank/core/table.h"

namespace lowrank::apps {

void print_out(std::string_view lines);         // stdout: lines as they are laid out, with dim() and bold()
void print_lines(std::string_view lines);       // the same, those that are wider than the terminal wrapped
void print_error(std::string_view lines);       // stderr: lines as they are laid out
void print_error_line(std::string_view line);   // stderr: one line, whatever it holds
/// What the user asked for: on a terminal made safe, into a pipe or a file every byte as it is.
void print_answer(std::string_view text);
using core::shell_quoted;

/// This process is one of several, and another speaks for all: from now on no console says anything.
void leave_speaking_to_others();

/// How much a verb may say. --json: nothing but the object on stdout (people's text is left out); --quiet: errors only;
/// --plain: nothing is drawn.
class Console {
 public:
  explicit Console(const Options& options);
  bool json() const { return json_; }
  bool silent() const { return json_ || quiet_; }
  bool live() const;                            // stderr is a terminal and it may be drawn on
  void line(std::string_view text = "") const;  // a line of the report, on stdout: one, whatever it holds
  void text(std::string_view lines) const;      // lines of it, as they are laid out
  void note(const std::string& text) const;     // the same for what the library says: its fields as flags
  void warning(std::string_view text) const;    // on stderr, unless --quiet
  void result(const core::Json& object) const;  // with --json: the object
  const Verb& verb() const { return *verb_; }

 private:
  const Verb* verb_;
  bool json_, quiet_, plain_;
};

using core::fields;
using core::table;

/// A bar, or more lines, on stderr, redrawn at most ten times a second; nothing when it may not draw.
class Bar {
 public:
  explicit Bar(const Console& console) : live_(console.live()) {}
  ~Bar() { clear(); }
  void draw(std::int64_t done, std::int64_t total, const std::string& text, bool force = false);
  void draw(const std::vector<std::string>& lines, bool force = false);
  void clear();

 private:
  bool due(bool force);
  bool live_;
  double last_ = 0;
  bool drawn_ = false;
};
/// "██████░░░░░░░░░░░░░░  31 %  "; nothing where `total` is not known.
std::string bar_text(std::int64_t done, std::int64_t total);

/// core::ProgressObserver as a bar, warnings as lines.
class ConsoleProgress : public core::ProgressObserver {
 public:
  explicit ConsoleProgress(const Console& console) : console_(console), bar_(console) {}
  void begin(const std::string& what, std::int64_t total, const std::string& unit) override;
  void advance(std::int64_t done) override;
  void end() override;
  void warning(const std::string& message) override;
  void note(const std::string& message) override;

 private:
  const Console& console_;
  Bar bar_;
  std::string what_, unit_;
  std::int64_t total_ = 0;
  double begun_ = 0;
  std::set<std::string> said_;  // without a bar: what is long is named once
};

/// An observer of the library's whose progress, warnings and notes are the console's.
template <typename Observer>
class OnConsole : public Observer {
 public:
  explicit OnConsole(const Console& console) : console_(console), progress_(console) {}
  void begin(const std::string& what, std::int64_t total, const std::string& unit) override {
    progress_.begin(what, total, unit);
  }
  void advance(std::int64_t done) override { progress_.advance(done); }
  void end() override { progress_.end(); }
  void warning(const std::string& message) override { progress_.warning(message); }
  void note(const std::string& message) override { progress_.note(message); }

 protected:
  const Console& console_;

 private:
  ConsoleProgress progress_;
};

double now_seconds();  // monotonic

}  // namespace lowrank::apps
