// The only place that writes to stdout and stderr: lines, tables, the live bar.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/apps/console/options.h"
#include "lowrank/core/json.h"
#include "lowrank/core/progress.h"
#include "lowrank/core/table.h"

namespace lowrank::apps {

void print_out(std::string_view text);    // stdout, as it is
void print_error(std::string_view text);  // stderr, as it is
using core::shell_quoted;

/// How much a verb may say. --json: nothing but the object on stdout (people's text is left out); --quiet: errors only.
class Console {
 public:
  explicit Console(const Options& options);
  bool json() const { return json_; }
  bool silent() const { return json_ || quiet_; }
  bool live() const;                            // stderr is a terminal and it may be drawn on
  void line(std::string_view text = "") const;  // a line of the report, on stdout
  void note(const std::string& text) const;     // the same for what the library says: its fields as flags
  void warning(std::string_view text) const;    // on stderr, unless --quiet
  void result(const core::Json& object) const;  // with --json: the object
  const Verb& verb() const { return *verb_; }

 private:
  const Verb* verb_;
  bool json_, quiet_;
};

using core::fields;
using core::table;

/// A bar on one line of stderr, redrawn at most ten times a second; nothing when it may not draw.
class Bar {
 public:
  explicit Bar(const Console& console) : live_(console.live()) {}
  ~Bar() { clear(); }
  void draw(std::int64_t done, std::int64_t total, const std::string& text, bool force = false);
  void clear();

 private:
  bool live_;
  double last_ = 0;
  bool drawn_ = false;
};

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
