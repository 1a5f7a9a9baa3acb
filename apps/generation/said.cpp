#include "lowrank/apps/generation/said.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::apps {

namespace {

constexpr std::string_view kBlanks = " \t\r\n", kFence = "\"\"\"";

struct ChatCommand {
  std::string_view name;
  bool takes = false;          // something behind it
  std::string_view needs = "";  // what has to stand there, with an example
};

constexpr std::array<ChatCommand, 8> kCommands = {{{"/reset"},
                                                   {"/undo"},
                                                   {"/save", true, "a file: /save conversations.jsonl"},
                                                   {"/tool", true, "what the tool has answered: /tool {\"degrees\": 21}"},
                                                   {"/adapter", true},
                                                   {"/exit"},
                                                   {"/quit"},
                                                   {"/help"}}};

std::string_view without_blanks(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kBlanks);
  return begin == std::string_view::npos ? "" : text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

/// The first word of a text without blanks around it, and what stands behind it.
std::pair<std::string_view, std::string_view> first_word(std::string_view text) {
  const std::size_t end = std::min(text.find_first_of(kBlanks), text.size());
  return {text.substr(0, end), without_blanks(text.substr(end))};
}

const ChatCommand* command_named(std::string_view word) {
  const auto found = std::find_if(kCommands.begin(), kCommands.end(), [&](const ChatCommand& one) { return one.name == word; });
  return found == kCommands.end() ? nullptr : &*found;
}

/// A command with what stands behind it. ConfigError where that does not fit.
Said obeyed_to(const ChatCommand& command, std::string_view behind) {
  if (!command.takes && !behind.empty()) {
    throw ConfigError(fmt::format("{} takes nothing behind it, found '{}'; to say it to the model, begin with two slashes: /{} …", command.name,
                                  core::printable(behind, 40), command.name));
  }
  if (!command.needs.empty() && behind.empty()) throw ConfigError(fmt::format("{} needs {}", command.name, command.needs));
  return {std::string(command.name), std::string(behind)};
}

/// Whether a line asks for more, by a \ at its end, which is taken off.
bool taken_off_backslash(std::string& line) {
  if (line.empty() || line.back() != '\\') return false;
  line.pop_back();
  return true;
}

}  // namespace

const char* SaidReader::help() {
  return "/reset         forget what was said\n"
         "/undo          take back the last question and its answer\n"
         "/save FILE     append the conversation to a .jsonl file, as a row that finetune reads\n"
         "/tool TEXT     what a tool that was called has answered\n"
         "/adapter NAME  go on with another adapter (base: without); alone: which there are\n"
         "/exit          end (Ctrl-D does too)\n"
         "/help          this\n"
         "//text         say /text to the model\n"
         "Several lines: end a line with \\, or put them between \"\"\" and \"\"\".\n"
         "Ctrl-C stops an answer. Everything else is said to the model.\n";
}

/// The text of a block that this line, behind its """, begins.
std::optional<std::string> SaidReader::block(std::string line) {
  std::vector<std::string> lines;
  for (;;) {
    const std::size_t end = line.find_last_not_of(kBlanks);
    const bool closes = end != std::string::npos && std::string_view(line).substr(0, end + 1).ends_with(kFence);
    if (closes) line.resize(end + 1 - kFence.size());
    lines.push_back(std::move(line));
    if (closes) break;
    std::optional<std::string> next = next_line_(true);
    if (!next) throw DataError("the input ended inside a block that \"\"\" began; end it with a line \"\"\"");
    line = std::move(*next);
  }
  // The signs may stand on lines of their own.
  if (lines.size() > 1 && without_blanks(lines.back()).empty()) lines.pop_back();
  if (lines.size() > 1 && without_blanks(lines.front()).empty()) lines.erase(lines.begin());
  std::string text = fmt::format("{}", fmt::join(lines, "\n"));
  if (without_blanks(text).empty()) return std::nullopt;
  return text;
}

std::optional<Said> SaidReader::next() {
  while (std::optional<std::string> line = next_line_(false)) {
    const std::string_view trimmed = without_blanks(*line);
    if (trimmed.starts_with(kFence)) {
      if (auto text = block(std::string(trimmed.substr(kFence.size())))) return Said{"", std::move(*text)};
      continue;
    }
    if (const auto [word, behind] = first_word(trimmed); behind.starts_with(kFence)) {
      const ChatCommand* const command = command_named(word);
      if (command != nullptr && command->takes) return obeyed_to(*command, block(std::string(behind.substr(kFence.size()))).value_or(""));
    }
    std::string text = std::move(*line);
    while (taken_off_backslash(text)) {
      const std::optional<std::string> more = next_line_(true);
      if (!more) break;
      text += "\n" + *more;
    }
    const std::string_view said = without_blanks(text);
    if (said.empty()) continue;
    const auto [word, behind] = first_word(said);
    if (const ChatCommand* const command = command_named(word)) return obeyed_to(*command, behind);
    if (said.front() != '/') return Said{"", std::move(text)};
    if (said.starts_with("//")) return Said{"", std::string(said.substr(1))};
    if (word.find('/', 1) != std::string_view::npos) return Said{"", std::move(text)};  // a path
    std::vector<std::string> names;
    for (const ChatCommand& one : kCommands) names.emplace_back(one.name);
    throw ConfigError(fmt::format("'{}' is not a command{} (there are {}); to say it to the model, begin with two slashes", core::printable(word, 40),
                                  core::did_you_mean(word, names), fmt::join(names, ", ")));
  }
  return std::nullopt;
}

}  // namespace lowrank::apps
