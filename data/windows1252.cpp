#include "lowrank/data/windows1252.h"

#include <algorithm>

namespace lowrank::data {
namespace {

using namespace std::string_view_literals;

/// U+0080 … U+009F of Windows-1252; 0: not assigned.
constexpr std::array<std::uint16_t, 32> kUpper = {
    0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0, 0x017D,
    0,      0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,
    0x017E, 0x0178};

/// Letters beyond ASCII of one language, lower case, as bytes of Windows-1252.
constexpr std::array kLanguages = {
    "\xe0\xe2\xe6\xe7\xe8\xe9\xea\xeb\xee\xef\xf4\x9c\xf9\xfb\xfc"sv,  // French, Walloon, Albanian
    "\xe4\xf6\xfc\xdf\xe9\xeb\xe8\xea"sv,                              // German, Luxembourgish
    "\xe1\xe9\xed\xf3\xfa\xfc\xf1\xe7"sv,                              // Spanish, Galician, Basque
    "\xe1\xe2\xe3\xe0\xe7\xe9\xea\xed\xf3\xf4\xf5\xfa"sv,              // Portuguese
    "\xe0\xe8\xe9\xec\xed\xee\xf2\xf3\xf9\xfa"sv,                      // Italian
    "\xe0\xe7\xe8\xe9\xed\xef\xf2\xf3\xfa\xfc"sv,                      // Catalan, Occitan
    "\xe1\xe9\xeb\xe8\xea\xed\xef\xee\xf3\xf6\xf4\xfa\xfb\xfc\xe7"sv,  // Dutch, Afrikaans
    "\xe6\xf8\xe5\xe9\xe8\xf2\xf3\xf4\xe2\xe0\xea"sv,                  // Danish, Norwegian
    "\xe5\xe4\xf6\xe9\xe0\xfc"sv,                                      // Swedish, Finnish
    "\xe1\xe9\xed\xf3\xfa\xfd\xfe\xe6\xf6\xf0"sv,                      // Icelandic
    "\xe1\xed\xf3\xfa\xfd\xe6\xf8\xf0"sv,                              // Faroese
    "\xf5\xe4\xf6\xfc\x9a\x9e"sv,                                      // Estonian
};

bool is_ascii_letter(unsigned char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }

/// The letter's lower case; 0 for what is none.
unsigned char lower_letter(unsigned char c) {
  switch (c) {
    case 0x8a:
    case 0x8c:
    case 0x8e:
      return static_cast<unsigned char>(c + 0x10);
    case 0x9f:
      return 0xff;
    case 0x9a:
    case 0x9c:
    case 0x9e:
    case 0xdf:
      return c;
    default:
      if (c < 0xc0 || c == 0xd7 || c == 0xf7) return 0;
      return c < 0xdf ? static_cast<unsigned char>(c + 0x20) : c;
  }
}

bool is_letter(unsigned char c) { return is_ascii_letter(c) || (c >= 0x80 && lower_letter(c) != 0); }

/// What may stand between two letters: apostrophes, dashes, dots, the soft hyphen, the no-break space, Catalan's point.
bool joins_words(unsigned char c) {
  return "\x85\x91\x92\x96\x97\xa0\xad\xb4\xb7"sv.find(static_cast<char>(c)) != std::string_view::npos;
}
/// Quotation marks that no letter stands before.
bool opens(unsigned char c) { return c == 0x82 || c == 0x84 || c == 0x8b; }

}  // namespace

void Windows1252Evidence::see(unsigned char before, unsigned char byte, unsigned char after) {
  if (byte < 0x80) {
    run_ = 0;
    return;
  }
  ++high_;
  const auto follows = [](unsigned char c) { return c >= 0x80 && c < 0xc0; };
  const bool two = byte >= 0xc2 && byte < 0xe0 && follows(after);
  const bool three = before >= 0xe0 && before < 0xf0 && follows(byte) && follows(after);
  utf8_like_ += two || three ? 1 : 0;
  if (byte < 0xa0 && kUpper[byte - 0x80] == 0) ++undefined_;
  const unsigned char lower = lower_letter(byte);
  if (lower != 0) {
    ++letters_;
    ++of_letter_[lower];
    if (++run_ >= 3) ++in_runs_;
    return;
  }
  run_ = 0;
  const bool inside = is_letter(before) && is_letter(after) && !joins_words(byte);
  if (inside || (opens(byte) && is_letter(before))) ++symbols_in_words_;
}

void Windows1252Evidence::add(std::string_view bytes) {
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    see(before_, last_, byte);
    before_ = last_;
    last_ = byte;
  }
}

std::string Windows1252Evidence::objection() const {
  Windows1252Evidence all = *this;
  all.see(before_, last_, 0);
  if (all.undefined_ > 0) return "bytes that Windows-1252 does not have";
  if (all.symbols_in_words_ * 50 > all.high_) return "symbols of Windows-1252 would stand inside of words";
  if (all.utf8_like_ * 5 > all.high_) return "its bytes are laid out as those of UTF-8, with faults";
  if (all.in_runs_ * 50 > all.high_) return "there are long runs of letters beyond ASCII";
  std::int64_t best = 0;
  for (const std::string_view language : kLanguages) {
    std::int64_t covered = 0;
    for (const char letter : language) covered += all.of_letter_[static_cast<unsigned char>(letter)];
    best = std::max(best, covered);
  }
  if (best * 100 < all.letters_ * 92) return "no one language of Western Europe has all of its letters";
  return "";
}

std::string from_windows1252(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 16);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    unsigned code = byte;
    if (byte >= 0x80 && byte < 0xa0) code = kUpper[byte - 0x80] == 0 ? 0xFFFD : kUpper[byte - 0x80];
    if (code < 0x80) {
      out += c;
    } else if (code < 0x800) {
      out += {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
    } else {
      out += {static_cast<char>(0xe0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3f)),
              static_cast<char>(0x80 | (code & 0x3f))};
    }
  }
  return out;
}

}  // namespace lowrank::data
