#include "lowrank/data/tokenizer/onig_regex.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <mutex>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/onig_syntax.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data {

namespace {

constexpr std::size_t kMaxPatternBytes = 1 << 13;  // published ones have less than one thousand
constexpr std::size_t kMaxClasses = 256;
constexpr std::size_t kKeptBytes = std::size_t{1} << 20;  // of a thread's buffer, between texts

// [\x01-\x03\x07]
std::string bytes_class(const std::vector<std::uint8_t>& classes) {
  std::string out = "[";
  for (std::size_t i = 0; i < classes.size();) {
    std::size_t end = i + 1;
    while (end < classes.size() && classes[end] == classes[end - 1] + 1) ++end;
    out += fmt::format("\\x{:02x}", classes[i]);
    if (end - i > 1) out += fmt::format("-\\x{:02x}", classes[end - 1]);
    i = end;
  }
  return out + "]";
}

}  // namespace

OnigRegex::Program OnigRegex::compiled(std::string_view pattern, const std::string& where) {
  const auto fail = [&](const std::string& problem) -> FormatError {
    return FormatError(fmt::format("{}: the regular expression '{}' {}", where, core::printable(pattern), problem));
  };
  if (pattern.size() > kMaxPatternBytes) {
    throw FormatError(fmt::format("{}: a regular expression of {} bytes, more than the {} that are accepted", where,
                                  pattern.size(), kMaxPatternBytes));
  }
  const OnigExpression expression = read_oniguruma(pattern, where);
  const CharacterClasses classes = classes_of(expression.sets, kMaxClasses);
  if (classes.runs.empty()) {
    throw fail(fmt::format("tells more than {} kinds of characters apart, which is not supported", kMaxClasses));
  }
  std::string bytes = expression.text[0];
  for (std::size_t i = 0; i < expression.places.size(); ++i) {
    bytes += bytes_class(classes.classes_of[expression.places[i]]) + expression.text[i + 1];
  }
  std::string problem;
  const auto regex = Regex::compile(bytes, {.unicode = false}, problem);
  if (!regex) throw fail("does not compile: " + problem);
  if (regex->matches_empty()) throw fail("can match the empty string, which splits nowhere");
  return {*regex, CharacterMap(classes.runs)};
}

std::shared_ptr<const OnigRegex::Program> OnigRegex::kept(std::string_view pattern, const std::string& where) {
  constexpr std::size_t kKeptPrograms = 8;
  static std::mutex mutex;
  static std::deque<std::pair<std::string, std::shared_ptr<const Program>>> programs;  // the latest last
  const std::lock_guard lock(mutex);
  for (const auto& [text, program] : programs) {
    if (text == pattern) return program;
  }
  auto program = std::make_shared<const Program>(compiled(pattern, where));
  if (programs.size() == kKeptPrograms) programs.pop_front();
  programs.emplace_back(pattern, program);
  return program;
}

OnigRegex::OnigRegex(std::string_view pattern, const std::string& where)
    : where_(where), program_(kept(pattern, where)) {
  for (char32_t c = 0; c < ascii_.size(); ++c) ascii_[c] = static_cast<char>(program_->classes[c]);
}

bool OnigRegex::read_classes(std::string_view text, std::string& out) const {
  out.resize(text.size());
  std::size_t at = 0;
  for (; at < text.size() && static_cast<unsigned char>(text[at]) < 0x80; ++at) {
    out[at] = ascii_[static_cast<unsigned char>(text[at])];
  }
  if (at == text.size()) return true;
  std::size_t count = at;
  while (at < text.size()) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) {
      out[count++] = ascii_[byte];
      ++at;
    } else {
      out[count++] = static_cast<char>(program_->classes[next_character(text, at)]);
    }
  }
  out.resize(count);
  return false;
}

void OnigRegex::find_all(std::string_view text, ByteRange within, std::vector<ByteRange>& matches) const {
  thread_local std::string classes;
  const std::string_view subject = text.substr(within.begin, within.end - within.begin);
  const bool bytes = read_classes(subject, classes);
  // Enough for a pattern that walks to the end and back some times, far too little for one that explodes.
  const auto steps = static_cast<std::uint32_t>(std::min<std::size_t>(100'000 + 64 * classes.size(), 2'000'000'000));
  std::size_t character = 0, place = 0;  // the same place, counted in characters and in bytes
  const auto byte_of = [&](std::size_t target) {
    if (bytes) return target;
    for (; character < target; ++character) place += character_length(subject[place]);
    return place;
  };
  std::string problem;
  ByteRange match;
  for (std::size_t from = 0; from < classes.size(); from = match.end) {
    const auto outcome = program_->regex.find(classes, from, steps, match, problem);
    if (outcome == Regex::Outcome::kNotFound) break;
    if (outcome == Regex::Outcome::kGaveUp) {
      throw DataError(
          fmt::format("{}: the regular expression gave up on a text of {} bytes ({}); it backtracks too much", where_,
                      subject.size(), problem));
    }
    if (match.end <= match.begin || match.begin < from) {
      throw DataError(fmt::format("{}: the regular expression matched the empty string", where_));
    }
    const std::size_t begin = within.begin + byte_of(match.begin);
    matches.push_back({begin, within.begin + byte_of(match.end)});
  }
  if (classes.capacity() > kKeptBytes) std::string().swap(classes);
}

}  // namespace lowrank::data
