// The regular expressions of tokenizer.json: written for Oniguruma (Ruby's syntax), run by PCRE2 under limits.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/data/regex.h"
#include "lowrank/data/tokenizer/character_set.h"

namespace lowrank::data {

/// Characters that the expression does not tell apart are one class, written as one byte; PCRE2 sees a text of these
/// bytes and an expression over them. So the classes are those of our own tables, and any script costs what ASCII
/// costs.
class OnigRegex {
 public:
  /// FormatError naming `where` when it does not compile or can match the empty string.
  OnigRegex(std::string_view pattern, const std::string& where);

  /// Appends all matches in text[within], left to right, none overlapping another; text outside is not looked at. The
  /// text is valid UTF-8. DataError when a match needs more steps than the limits allow. Safe to call from several
  /// threads.
  void find_all(std::string_view text, ByteRange within, std::vector<ByteRange>& matches) const;

 private:
  struct Program {
    Regex regex;
    CharacterMap classes;
  };
  static Program compiled(std::string_view pattern, const std::string& where);
  /// The same, kept for the next few calls: folders and tests open one tokenizer many times.
  static std::shared_ptr<const Program> kept(std::string_view pattern, const std::string& where);
  /// The classes of the text's characters; whether each character was one byte.
  bool read_classes(std::string_view text, std::string& out) const;

  std::string where_;
  std::shared_ptr<const Program> program_;
  std::array<char, 128> ascii_;  // the classes of ASCII
};

}  // namespace lowrank::data
