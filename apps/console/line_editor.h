// A person's lines at a terminal: edited with the arrow keys, with those of earlier times (libedit, where it was there
// at build time; else plain lines).
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace lowrank::apps {

class LineEditor {
 public:
  /// Earlier lines are read from `history` and, at the end, the last thousand written back (0600); an empty path or one
  /// that cannot be written: only those of this time.
  explicit LineEditor(std::filesystem::path history);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;
  /// The next line without its end; nothing at the end of input (Ctrl-D).
  std::optional<std::string> read(const std::string& prompt);

 private:
  std::filesystem::path history_;
};

/// $XDG_STATE_HOME/lowrank/NAME, or ~/.local/state/lowrank/NAME; empty without a home. Its folder is made.
std::filesystem::path history_file(const std::string& name);

}  // namespace lowrank::apps
