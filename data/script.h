// Which script the letters of a text are of, by the blocks of Unicode.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lowrank::data {

enum class Script : std::uint8_t {
  kNone,  // digits, signs, code points of no block below
  kLatin,
  kGreek,
  kCyrillic,
  kArmenian,
  kHebrew,
  kArabic,
  kDevanagari,
  kOtherIndic,  // Bengali to Sinhala
  kThai,        // with Lao
  kGeorgian,
  kEthiopic,
  kKhmer,
  kHangul,
  kKana,
  kHan
};

Script script_of(char32_t c);
std::string script_name(Script script);  // "Cyrillic"

/// The script of most of its letters; of a text with kana it is kKana, though most of its letters are Han.
Script main_script(std::string_view utf8);

}  // namespace lowrank::data
