#include "lowrank/apps/console/line_editor.h"

#include <editline/readline.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <clocale>
#include <cstdlib>
#include <string_view>

#include "lowrank/apps/console/standard_streams.h"
#include "lowrank/core/text.h"

namespace lowrank::apps {

namespace {

constexpr int kKept = 1000;

// A terminal that is asked to puts these around what is pasted.
constexpr std::string_view kAskForMarks = "\033[?2004h", kAskForNone = "\033[?2004l", kPasteEnd = "\033[201~";

/// What is pasted, up to its end, into the line: newlines do not end it. It is read byte by byte, since what follows is not ours.
int take_paste(int, int) {
  std::string text;
  for (char byte; !text.ends_with(kPasteEnd) && ::read(STDIN_FILENO, &byte, 1) == 1;) text += byte;
  if (text.ends_with(kPasteEnd)) text.resize(text.size() - kPasteEnd.size());
  std::string lines;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    const bool shown = text[i] == '\t' || static_cast<unsigned char>(text[i]) >= ' ';
    if (text[i] == '\r' || text[i] == '\n') {
      lines += '\n';
    } else if (shown && text[i] != '\x7F') {
      lines += text[i];
    }
  }
  while (!lines.empty() && lines.back() == '\n') lines.pop_back();
  ::rl_insert_text(core::replace_invalid_utf8(lines).c_str());
  ::rl_forced_update_display();
  return 0;
}

/// The marks around what is pasted, while a line is read: whoever has the terminal next, also because a signal ended this program, knows
/// nothing of them.
class PasteMarks {
 public:
  PasteMarks() {
    if (!marked()) return;
    write_stdout(kAskForMarks);
    for (std::size_t i = 0; i < kEnding.size(); ++i) {
      ::sigaction(kEnding[i], nullptr, &before_[i]);
      struct sigaction ours {};
      ours.sa_handler = end_by;
      if (before_[i].sa_handler == SIG_DFL) ::sigaction(kEnding[i], &ours, nullptr);
    }
  }
  ~PasteMarks() {
    if (!marked()) return;
    write_stdout(kAskForNone);
    for (std::size_t i = 0; i < kEnding.size(); ++i) ::sigaction(kEnding[i], &before_[i], nullptr);
  }
  PasteMarks(const PasteMarks&) = delete;
  PasteMarks& operator=(const PasteMarks&) = delete;

 private:
  static constexpr std::array<int, 4> kEnding = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

  static bool marked() {
    const char* const term = std::getenv("TERM");
    return term != nullptr && std::string_view(term) != "dumb" && *term != '\0';
  }
  static void end_by(int number) {
    [[maybe_unused]] const ssize_t ignored = ::write(STDOUT_FILENO, kAskForNone.data(), kAskForNone.size());
    ::signal(number, SIG_DFL);
    ::raise(number);
  }

  std::array<struct sigaction, kEnding.size()> before_{};
};

}  // namespace

LineEditor::LineEditor(std::filesystem::path history) : history_(std::move(history)) {
  // So that a character of several bytes is one, also where no locale is set, as in containers; numbers are read as ever.
  std::setlocale(LC_CTYPE, "");
  const std::string_view locale = std::setlocale(LC_CTYPE, nullptr);
  if (locale == "C" || locale == "POSIX") std::setlocale(LC_CTYPE, "C.UTF-8");
  ::using_history();
  ::stifle_history(kKept);
  if (!history_.empty()) ::read_history(history_.c_str());
  // libedit calls a function by the key that it was called by: the last one of the mark, which means itself when it is typed.
  ::rl_add_defun("lowrank-paste", take_paste, '~');
  for (const char* const key : {"bind ~ ed-insert", "bind \\e[200~ lowrank-paste"}) ::rl_parse_and_bind(key);
}

LineEditor::~LineEditor() {
  if (history_.empty()) return;
  ::write_history(history_.c_str());
  ::chmod(history_.c_str(), 0600);
}

std::optional<std::string> LineEditor::read(const std::string& prompt) {
  char* line = nullptr;
  {
    const PasteMarks marks;
    line = ::readline(prompt.c_str());
  }
  if (line == nullptr) return std::nullopt;
  std::string text = line;
  std::free(line);
  if (text.find_first_not_of(" \t\n") != std::string::npos) ::add_history(text.c_str());
  return text;
}

}  // namespace lowrank::apps
