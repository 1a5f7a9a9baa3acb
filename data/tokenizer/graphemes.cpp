#include "lowrank/data/tokenizer/graphemes.h"

#include "lowrank/data/tokenizer/character_set.h"
#include "lowrank/data/tokenizer/unicode.h"
#include "lowrank/data/tokenizer/unicode_tables.h"

namespace lowrank::data {

namespace {

using unicode::GraphemeClass;

GraphemeClass class_of(char32_t c) {
  static const CharacterMap map(character_runs(unicode::kGraphemes));
  return static_cast<GraphemeClass>(map[c]);
}

enum class Hangul { kNone, kL, kV, kT, kLv, kLvt };

Hangul hangul(char32_t c) {
  if (c < 0x1100) return Hangul::kNone;
  if (c <= 0x115F || (c >= 0xA960 && c <= 0xA97C)) return Hangul::kL;
  if (c <= 0x11A7 || (c >= 0xD7B0 && c <= 0xD7C6)) return Hangul::kV;
  if (c <= 0x11FF || (c >= 0xD7CB && c <= 0xD7FB)) return Hangul::kT;
  if (c < 0xAC00 || c > 0xD7A3) return Hangul::kNone;
  return (c - 0xAC00) % 28 == 0 ? Hangul::kLv : Hangul::kLvt;
}

bool joins(Hangul left, Hangul right) {
  switch (left) {
    case Hangul::kL:
      return right == Hangul::kL || right == Hangul::kV || right == Hangul::kLv || right == Hangul::kLvt;
    case Hangul::kV:
    case Hangul::kLv:
      return right == Hangul::kV || right == Hangul::kT;
    case Hangul::kT:
    case Hangul::kLvt:
      return right == Hangul::kT;
    case Hangul::kNone:
      break;
  }
  return false;
}

bool is_regional(char32_t c) { return c >= 0x1F1E6 && c <= 0x1F1FF; }

}  // namespace

std::size_t grapheme_end(std::string_view text, std::size_t at) {
  char32_t left = next_character(text, at);
  GraphemeClass left_class = class_of(left);
  bool after_pictograph = left_class == GraphemeClass::kPictograph;  // and marks since then
  bool odd_regional = is_regional(left);
  while (at < text.size()) {
    std::size_t end = at;
    const char32_t right = next_character(text, end);
    const GraphemeClass right_class = class_of(right);
    const bool is_crlf = left == '\r' && right == '\n';
    if (!is_crlf && (left_class == GraphemeClass::kControl || right_class == GraphemeClass::kControl)) break;
    const bool joined = is_crlf || right_class == GraphemeClass::kExtend || left_class == GraphemeClass::kPrepend ||
                        (left == 0x200D && after_pictograph && right_class == GraphemeClass::kPictograph) ||
                        (odd_regional && is_regional(right)) || joins(hangul(left), hangul(right));
    if (!joined) break;
    odd_regional = is_regional(right) && !(odd_regional && is_regional(left));
    after_pictograph =
        right_class == GraphemeClass::kPictograph || (after_pictograph && right_class == GraphemeClass::kExtend);
    left = right;
    left_class = right_class;
    at = end;
  }
  return at;
}

}  // namespace lowrank::data
