#include "lowrank/lora/pattern.h"

#include <fmt/format.h>

#include <optional>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::lora {
namespace {

constexpr std::size_t kMaxLength = 10'000;
constexpr std::uint32_t kMatchLimit = 200'000;  // sensible expressions need a few hundred steps for a module's name

[[noreturn]] void refuse(const std::string& what, const std::string& expression, const std::string& why) {
  throw ConfigError(
      fmt::format("{}: the regular expression '{}' cannot be used: {}", what, core::printable(expression), why));
}

bool is_one_of(char c, std::string_view set) { return set.find(c) != std::string_view::npos; }

// What PCRE2 would take but Python's re refuses or reads otherwise: verbs, recursion, \K, \Q..\E and the like.
// `flags_allowed`: (?i) and friends may open the expression (Python wants them first in the whole pattern).
std::optional<std::string> unlike_python(std::string_view e, bool flags_allowed) {
  bool in_class = false;
  for (std::size_t i = 0; i < e.size(); ++i) {
    const char c = e[i];
    if (c == '\\') {
      if (++i == e.size()) return "it ends in a single backslash";
      const bool letter = (e[i] >= 'a' && e[i] <= 'z') || (e[i] >= 'A' && e[i] <= 'Z');
      if (letter && !is_one_of(e[i], in_class ? "bdDsSwWafnrtvx" : "AbBdDsSwWZafnrtvx"))
        return fmt::format("'\\{}' is not an escape of Python's re", e[i]);
    } else if (in_class) {
      if (c == '[' && i + 1 < e.size() && is_one_of(e[i + 1], ":.="))
        return "POSIX classes are not part of Python's re";
      if (c == ']') in_class = false;
    } else if (c == '[') {
      in_class = true;
      if (i + 1 < e.size() && e[i + 1] == '^') ++i;
      if (i + 1 < e.size() && e[i + 1] == ']') ++i;  // a leading ] is itself
    } else if (c == '{' && i + 1 < e.size() && e[i + 1] == ',') {
      return "'{,n}' is not the same everywhere; write {0,n}";
    } else if (c == '(' && i + 1 < e.size() && e[i + 1] == '*') {
      return "'(*' is not part of Python's re";
    } else if (c == '(' && i + 1 < e.size() && e[i + 1] == '?') {
      const std::string_view rest = e.substr(i + 2);
      const auto begins = [&](std::string_view s) { return rest.substr(0, s.size()) == s; };
      if (begins(":") || begins("#") || begins("=") || begins("!") || begins(">") || begins("(") || begins("P<") ||
          begins("P=") || begins("<=") || begins("<!"))
        continue;
      const std::size_t end = rest.find_first_not_of("imsx-");
      if (end == 0 || end == std::string_view::npos || !is_one_of(rest[end], ":)"))
        return fmt::format("'(?{}' is not part of Python's re", core::printable(rest.substr(0, 3)));
      if (rest[end] == ')' && !(flags_allowed && i == 0)) return "flags for the whole expression must stand first";
    }
  }
  return std::nullopt;
}

std::optional<std::int64_t> to_index(const std::string& digits) {
  if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  return std::stoll(digits);
}

data::Regex compiled(Pattern::Kind kind, const std::string& expression, const std::string& what) {
  using Kind = Pattern::Kind;
  if (expression.size() > kMaxLength)
    refuse(what, expression, fmt::format("it is longer than {} characters", kMaxLength));
  if (const auto problem = unlike_python(expression, kind == Kind::kFullMatch)) refuse(what, expression, *problem);
  const std::string full = kind == Kind::kFullMatch ? expression
                           : kind == Kind::kSuffix  ? "(.*\\.)?(" + expression + ")$"
                                                    : "(?:^|.*?\\.)" + expression + "\\.(?P<idx>\\d+)\\.";
  std::string problem;
  const auto regex = data::Regex::compile(full, {.anchored = true, .end_anchored = kind == Kind::kFullMatch}, problem);
  if (!regex) refuse(what, expression, problem);
  return *regex;
}

}  // namespace

Pattern::Pattern(Kind kind, const std::string& expression, std::string what)
    : expression_(expression), what_(std::move(what)), regex_(compiled(kind, expression_, what_)) {}

bool Pattern::run(std::string_view name, std::string* index) const {
  if (core::find_invalid_utf8(name) != std::string_view::npos) refuse(what_, expression_, "a name is not UTF-8");
  const int group = index == nullptr ? -1 : regex_.group("idx");
  std::vector<std::optional<data::ByteRange>> groups(static_cast<std::size_t>(group + 1));
  std::string problem;
  const auto outcome = regex_.find(name, 0, kMatchLimit, groups, problem);
  if (outcome == data::Regex::Outcome::kGaveUp)
    refuse(what_, expression_,
           fmt::format("it takes more than {} steps on '{}' ({}); write it without nested repetitions", kMatchLimit,
                       core::printable(name), problem));
  if (outcome == data::Regex::Outcome::kNotFound) return false;
  if (group > 0 && groups.back()) *index = name.substr(groups.back()->begin, groups.back()->end - groups.back()->begin);
  return true;
}

bool Pattern::matches(std::string_view name) const { return run(name, nullptr); }

std::optional<std::int64_t> Pattern::layer_of(std::string_view name) const {
  std::string digits;
  if (!run(name, &digits)) return std::nullopt;
  return to_index(digits);
}

std::optional<std::int64_t> Pattern::first_layer_of(std::string_view name) {
  // Segments are parted by dots; the digits must have two dots before them and one behind.
  std::size_t begin = 0;
  for (int segment = 0;; ++segment) {
    const std::size_t end = name.find('.', begin);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view text = name.substr(begin, end - begin);
    const auto index = segment < 2 ? std::nullopt : to_index(std::string(text));
    if (index) return index;
    begin = end + 1;
  }
}

}  // namespace lowrank::lora
