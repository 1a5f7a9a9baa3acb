// The regular expressions of tokenizer.json: written for Oniguruma (Ruby's syntax), run by PCRE2 under limits.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lowrank::data {

/// A range of bytes [begin, end).
struct ByteRange {
  std::size_t begin = 0, end = 0;
  bool operator==(const ByteRange&) const = default;
};

/// The same expression in PCRE2's syntax; FormatError (naming `where`) for what would mean something else there.
std::string oniguruma_to_pcre2(std::string_view pattern, const std::string& where);

class Regex {
 public:
  /// FormatError naming `where` when it does not compile or can match the empty string.
  Regex(std::string_view oniguruma_pattern, const std::string& where);

  /// Appends all matches in text[within], left to right, none overlapping another; text outside is not looked at.
  /// DataError when a match needs more steps than the limits allow. Safe to call from several threads.
  void find_all(std::string_view text, ByteRange within, std::vector<ByteRange>& matches) const;

 private:
  std::shared_ptr<const void> code_;  // pcre2_code_8
  std::string where_;
};

}  // namespace lowrank::data
