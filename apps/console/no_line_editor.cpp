// Where libedit was not there at build time: the terminal's own line.
#include <iostream>

#include "lowrank/apps/console/line_editor.h"
#include "lowrank/apps/console/terminal.h"

namespace lowrank::apps {

LineEditor::LineEditor(std::filesystem::path history) : history_(std::move(history)) {}
LineEditor::~LineEditor() = default;

std::optional<std::string> LineEditor::read(const std::string& prompt) {
  print_out(prompt);
  std::string line;
  if (!std::getline(std::cin, line)) return std::nullopt;
  return line;
}

}  // namespace lowrank::apps
