#include "lowrank/apps/console/wrap.h"

#include <algorithm>

#include "lowrank/core/table.h"

namespace lowrank::apps {

namespace {

constexpr std::string_view kRule = "─";  // under the header of a table
constexpr std::size_t kWidestKey = 24;  // of a field; what is further right is no value's beginning

std::size_t end_of_word(const std::string& text, std::size_t at) {
  std::size_t end = std::min(text.find(' ', at), text.size());
  const auto opened = std::count(text.begin() + static_cast<std::ptrdiff_t>(at), text.begin() + static_cast<std::ptrdiff_t>(end), '`');
  const std::size_t closing = opened % 2 == 0 ? std::string::npos : text.find('`', end);
  return closing == std::string::npos ? end : std::min(text.find(' ', closing), text.size());
}

/// Where the further lines of a wide one begin.
std::size_t hanging(const std::string& line) {
  const std::size_t key = line.find_first_not_of(' ');
  const std::size_t blanks = line.find("  ", key), value = line.find_first_not_of(' ', blanks);
  return value != std::string::npos && value <= kWidestKey ? core::width_of(line.substr(0, value)) : 2;
}

}  // namespace

std::string wrapped(const std::string& text, std::size_t columns, std::size_t indent) {
  std::string result;
  std::size_t at = text.find_first_not_of(' '), width = at == std::string::npos ? 0 : at;
  if (at == std::string::npos) return text;
  result = text.substr(0, at);
  bool first = true;
  while (at < text.size()) {
    const std::size_t end = end_of_word(text, at);
    const std::string word = text.substr(at, end - at);
    const std::size_t next = std::min(text.find_first_not_of(' ', end), text.size());
    const std::size_t length = core::width_of(word);
    if (!first && width + length > columns) {
      while (!result.empty() && result.back() == ' ') result.pop_back();
      result += "\n" + std::string(indent, ' ');
      width = indent;
    }
    result += word + text.substr(end, next - end);  // blanks between columns stay as they are
    width += length + (next - end);
    at = next;
    first = false;
  }
  return result;
}

std::string laid_out(std::string_view lines, std::size_t columns) {
  std::string result;
  for (std::size_t at = 0; at < lines.size();) {
    const std::size_t end = std::min(lines.find('\n', at), lines.size());
    const std::string line(lines.substr(at, end - at));
    const bool wide = core::width_of(line) > columns;
    if (wide && line.starts_with(kRule)) {
      for (std::size_t i = 0; i < columns; ++i) result += kRule;
    } else {
      result += wide ? wrapped(line, columns, hanging(line)) : line;
    }
    if (end < lines.size()) result += "\n";
    at = end + 1;
  }
  return result;
}

std::string joined_to_fit(const std::vector<std::string>& parts, std::size_t columns) {
  std::string line;
  for (const std::string& part : parts) {
    const std::string with = line.empty() || part.empty() ? line + part : line + "  " + part;
    if (line.empty() || core::width_of(with) <= columns) line = with;
  }
  return line;
}

}  // namespace lowrank::apps
