#include "lowrank/eval/extract.h"

#include <fmt/format.h>

#include <array>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::eval {
namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }

data::Regex compiled(const std::string& pattern) {
  std::string problem;
  const auto regex = data::Regex::compile(pattern, {}, problem);
  if (!regex) {
    throw ConfigError(
        fmt::format("the pattern '{}' is not a regular expression: {}", core::printable(pattern), problem));
  }
  return *regex;
}

}  // namespace

Extractor::Extractor(const std::string& pattern) : pattern_(pattern), regex_(compiled(pattern)) {}

std::optional<std::string> Extractor::operator()(std::string_view raw) const {
  const std::string text = core::replace_invalid_utf8(raw);
  std::array<std::optional<data::ByteRange>, 2> groups;
  std::string problem;
  const auto outcome = regex_.find(text, 0, 1'000'000, groups, problem);
  if (outcome == data::Regex::Outcome::kGaveUp) {
    throw DataError(fmt::format("the pattern '{}' gave up on a text of {} bytes: {}", core::printable(pattern_),
                                text.size(), problem));
  }
  if (outcome == data::Regex::Outcome::kNotFound) return std::nullopt;
  const data::ByteRange found = groups[1] ? *groups[1] : *groups[0];
  return text.substr(found.begin, found.end - found.begin);
}

std::string comparable_answer(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\f\v";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return "";
  text = text.substr(first, text.find_last_not_of(kSpace) - first + 1);
  if (text.size() > 1 && text.back() == '.') text.remove_suffix(1);
  std::string answer;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool thousands = text[i] == ',' && i > 0 && i + 1 < text.size() && digit(text[i - 1]) && digit(text[i + 1]);
    if (!thousands) answer += text[i];
  }
  return answer;
}

}  // namespace lowrank::eval
