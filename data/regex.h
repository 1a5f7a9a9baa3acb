// PCRE2 under limits: the one place that compiles and runs regular expressions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace lowrank::data {

/// A range of bytes [begin, end).
struct ByteRange {
  std::size_t begin = 0, end = 0;
  bool operator==(const ByteRange&) const = default;
};

/// A compiled expression. Copies share it; safe to use from several threads.
class Regex {
 public:
  struct Options {
    bool unicode = true;                          // else pattern and text are bytes, none of which is a letter
    bool anchored = false, end_anchored = false;  // matches must begin where the search does, end at the text's end
  };
  enum class Outcome { kFound, kNotFound, kGaveUp };

  /// Nothing when it does not compile; `problem` then says why, and where in the pattern.
  static std::optional<Regex> compile(std::string_view pattern, const Options& options, std::string& problem);

  bool matches_empty() const;
  /// The number of the group of this name, or -1.
  int group(const char* name) const;

  /// The first match at or after `from`. groups[0] is all of it, groups[i] its i-th group (std::nullopt for one that
  /// took no part). With `unicode` the text must be valid UTF-8. At most about `steps` steps; kGaveUp: that was too
  /// few, or the memory for backtracking was (`problem` says which).
  Outcome find(std::string_view text, std::size_t from, std::uint32_t steps, std::span<std::optional<ByteRange>> groups,
               std::string& problem) const;
  /// The same for the whole match alone, which costs less.
  Outcome find(std::string_view text, std::size_t from, std::uint32_t steps, ByteRange& match,
               std::string& problem) const;

 private:
  Regex() = default;
  std::shared_ptr<const void> code_;  // pcre2_code_8
};

}  // namespace lowrank::data
