// Upper, lower and title case of strings, as Python has them.
#include <utf8proc.h>

#include <algorithm>

#include "lowrank/data/chat/characters.h"
#include "lowrank/data/chat/special_case.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data::jinja {
namespace {

enum class To { kUpper, kTitle, kLower };

const SpecialCase* special(char32_t c) {
  const auto it = std::lower_bound(kSpecialCases.begin(), kSpecialCases.end(), c,
                                   [](const SpecialCase& s, char32_t wanted) { return s.character < wanted; });
  return it != kSpecialCases.end() && it->character == c ? &*it : nullptr;
}

bool is_case_ignorable(char32_t c) {
  switch (c) {  // Word_Break MidLetter, MidNumLet, Single_Quote
    case '\'':
    case '.':
    case ':':
    case 0xB7:
    case 0x2018:
    case 0x2019:
    case 0x2024:
    case 0x2027:
      return true;
    default:
      break;
  }
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return false;
  }
}

// A capital sigma at the end of a word, behind a letter, becomes ς.
bool is_final_sigma(const std::u32string& text, std::size_t at) {
  std::size_t before = at;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  std::size_t after = at + 1;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

void append(std::string& out, const std::u32string& text, std::size_t at, To to) {
  const char32_t c = text[at];
  if (c < 0x80) {
    const bool is_small = c >= 'a' && c <= 'z', is_large = c >= 'A' && c <= 'Z';
    if (to == To::kLower) {
      out += static_cast<char>(is_large ? c + 32 : c);
    } else {
      out += static_cast<char>(is_small ? c - 32 : c);
    }
    return;
  }
  const auto point = static_cast<utf8proc_int32_t>(c);
  if (to == To::kLower) {
    if (c == 0x3A3) return append_character(out, is_final_sigma(text, at) ? 0x3C2 : 0x3C3);
    if (c == 0x130) {
      out += "i\xCC\x87";
      return;
    }
    return append_character(out, static_cast<char32_t>(utf8proc_tolower(point)));
  }
  if (const SpecialCase* s = special(c)) {
    for (const char32_t part : to == To::kUpper ? s->upper : s->title) {
      if (part != 0) append_character(out, part);
    }
    return;
  }
  append_character(out, static_cast<char32_t>(to == To::kUpper ? utf8proc_toupper(point) : utf8proc_totitle(point)));
}

template <typename Choose>
std::string each(std::string_view utf8, const Choose& choose) {
  const std::u32string text = characters_of(utf8);
  std::string out;
  out.reserve(utf8.size());
  for (std::size_t i = 0; i < text.size(); ++i) append(out, text, i, choose(text, i));
  return out;
}

}  // namespace

bool is_in_case(std::string_view text, bool wants_upper) {
  bool any = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_character(text, at);
    if (wants_upper ? is_upper(c) : is_lower(c)) {
      any = true;
    } else if (is_cased(c)) {
      return false;
    }
  }
  return any;
}

std::string upper(std::string_view text) {
  return each(text, [](const std::u32string&, std::size_t) { return To::kUpper; });
}

std::string lower(std::string_view text) {
  return each(text, [](const std::u32string&, std::size_t) { return To::kLower; });
}

std::string title(std::string_view text) {
  bool inside = false;
  return each(text, [&](const std::u32string& all, std::size_t i) {
    const To to = inside ? To::kLower : To::kTitle;
    inside = is_cased(all[i]);
    return to;
  });
}

std::string capitalize(std::string_view text) {
  return each(text, [](const std::u32string&, std::size_t i) { return i == 0 ? To::kTitle : To::kLower; });
}

std::string swapcase(std::string_view text) {
  return each(text,
              [](const std::u32string& all, std::size_t i) { return is_upper(all[i]) ? To::kLower : To::kUpper; });
}

std::string casefold(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const auto c = static_cast<utf8proc_int32_t>(next_character(text, at));
    utf8proc_int32_t parts[8];
    int boundary_class = 0;
    const auto n = utf8proc_decompose_char(c, parts, 8, UTF8PROC_CASEFOLD, &boundary_class);
    for (utf8proc_ssize_t i = 0; i < n && i < 8; ++i) append_character(out, static_cast<char32_t>(parts[i]));
  }
  return out;
}

}  // namespace lowrank::data::jinja
