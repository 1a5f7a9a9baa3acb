// The regular expressions of tokenizer.json: written for Oniguruma (Ruby's syntax), run by PCRE2 under limits.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lowrank/data/regex.h"

namespace lowrank::data {

/// The same expression in PCRE2's syntax; FormatError (naming `where`) for what would mean something else there.
std::string oniguruma_to_pcre2(std::string_view pattern, const std::string& where);

class OnigRegex {
 public:
  /// FormatError naming `where` when it does not compile or can match the empty string.
  OnigRegex(std::string_view oniguruma_pattern, const std::string& where);

  /// Appends all matches in text[within], left to right, none overlapping another; text outside is not looked at.
  /// DataError when a match needs more steps than the limits allow. Safe to call from several threads.
  void find_all(std::string_view text, ByteRange within, std::vector<ByteRange>& matches) const;

 private:
  Regex regex_;
  std::string where_;
};

}  // namespace lowrank::data
