#include "lowrank/apps/console/line_editor.h"

#include <editline/readline.h>
#include <sys/stat.h>

#include <clocale>
#include <cstdlib>
#include <string_view>

namespace lowrank::apps {

namespace {
constexpr int kKept = 1000;
}

LineEditor::LineEditor(std::filesystem::path history) : history_(std::move(history)) {
  // So that a character of several bytes is one, also where no locale is set, as in containers; numbers are read as ever.
  std::setlocale(LC_CTYPE, "");
  const std::string_view locale = std::setlocale(LC_CTYPE, nullptr);
  if (locale == "C" || locale == "POSIX") std::setlocale(LC_CTYPE, "C.UTF-8");
  ::using_history();
  ::stifle_history(kKept);
  if (!history_.empty()) ::read_history(history_.c_str());
}

LineEditor::~LineEditor() {
  if (history_.empty()) return;
  ::write_history(history_.c_str());
  ::chmod(history_.c_str(), 0600);
}

std::optional<std::string> LineEditor::read(const std::string& prompt) {
  char* const line = ::readline(prompt.c_str());
  if (line == nullptr) return std::nullopt;
  std::string text = line;
  std::free(line);
  if (text.find_first_not_of(" \t") != std::string::npos) ::add_history(text.c_str());
  return text;
}

}  // namespace lowrank::apps
