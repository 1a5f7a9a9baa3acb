#include "lowrank/data/tokenizer/onig_regex.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::data {

namespace {

constexpr std::size_t kMaxPatternBytes = 1 << 16;

Regex compiled(std::string_view pattern, const std::string& where) {
  if (pattern.size() > kMaxPatternBytes) {
    throw FormatError(fmt::format("{}: a regular expression of {} bytes, more than the {} that are accepted", where,
                                  pattern.size(), kMaxPatternBytes));
  }
  std::string problem;
  const auto regex = Regex::compile(oniguruma_to_pcre2(pattern, where), {}, problem);
  if (!regex) {
    throw FormatError(
        fmt::format("{}: the regular expression '{}' does not compile: {}", where, core::printable(pattern), problem));
  }
  if (regex->matches_empty()) {
    throw FormatError(fmt::format("{}: the regular expression '{}' can match the empty string, which splits nowhere",
                                  where, core::printable(pattern)));
  }
  return *regex;
}

}  // namespace

OnigRegex::OnigRegex(std::string_view pattern, const std::string& where)
    : regex_(compiled(pattern, where)), where_(where) {}

void OnigRegex::find_all(std::string_view text, ByteRange within, std::vector<ByteRange>& matches) const {
  const std::string_view subject = text.substr(within.begin, within.end - within.begin);
  // Enough for a pattern that walks to the end and back some times, far too little for one that explodes.
  const auto steps = static_cast<std::uint32_t>(std::min<std::size_t>(100'000 + 64 * subject.size(), 2'000'000'000));
  std::string problem;
  ByteRange match;
  for (std::size_t from = 0; from < subject.size(); from = match.end) {
    const auto outcome = regex_.find(subject, from, steps, match, problem);
    if (outcome == Regex::Outcome::kNotFound) return;
    if (outcome == Regex::Outcome::kGaveUp) {
      throw DataError(
          fmt::format("{}: the regular expression gave up on a text of {} bytes ({}); it backtracks too much", where_,
                      subject.size(), problem));
    }
    if (match.end <= match.begin || match.begin < from) {
      throw DataError(fmt::format("{}: the regular expression matched the empty string", where_));
    }
    matches.push_back({within.begin + match.begin, within.begin + match.end});
  }
}

}  // namespace lowrank::data
