#include "lowrank/data/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/data/tokenizer/properties.h"
#include "lowrank/data/tokenizer/unicode9.h"
#include "lowrank/data/tokenizer/unicode_tables.h"

namespace lowrank::data {

namespace {

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// A bit for each of RustClasses, in their order.
unsigned rust_bits(char32_t c) {
  static const CharacterMap map = [] {
    RustClasses r = rust_classes();
    const std::array<CharacterSet, 6> sets = {std::move(r.numeric), std::move(r.punctuation), std::move(r.word),
                                              std::move(r.mark),    std::move(r.nonspacing),  std::move(r.control)};
    return membership(sets);
  }();
  return map[c];
}

struct Lower {
  char32_t from, to;
};
char32_t lower_of(char32_t c) {
  static const std::vector<Lower> table = [] {
    std::vector<Lower> out;
    const auto& map = unicode::kLowerMap;
    for (std::size_t i = 0; i + 3 < map.size(); i += 4) {
      for (std::uint32_t n = 0; n < map[i + 1]; ++n) {
        const std::uint32_t from = map[i] + n * map[i + 2];
        out.push_back({from, from + map[i + 3]});
      }
    }
    std::sort(out.begin(), out.end(), [](const Lower& a, const Lower& b) { return a.from < b.from; });
    return out;
  }();
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
  const auto it = std::lower_bound(table.begin(), table.end(), c,
                                   [](const Lower& entry, char32_t value) { return entry.from < value; });
  return it != table.end() && it->from == c ? it->to : c;
}

// utf8proc_decompose sorts combining marks by swapping neighbours, which is quadratic in a run of them; so characters
// are decomposed one by one here and each run is sorted.
void append_decomposed(std::vector<utf8proc_int32_t>& out, std::string_view text, utf8proc_option_t options) {
  const std::size_t first = out.size();
  utf8proc_int32_t buffer[64];
  for (std::size_t at = 0; at < text.size();) {
    const auto c = static_cast<utf8proc_int32_t>(next_character(text, at));
    int boundary_class = 0;
    const auto n = utf8proc_decompose_char(c, buffer, 64, options, &boundary_class);
    if (n < 0 || n > 64) throw InternalError("Unicode decomposition failed");
    out.insert(out.end(), buffer, buffer + n);
  }
  const auto combining = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
  for (auto it = out.begin() + static_cast<std::ptrdiff_t>(first); it != out.end();) {
    if (combining(*it) == 0) {
      ++it;
      continue;
    }
    const auto end = std::find_if(it, out.end(), [&](auto c) { return combining(c) == 0; });
    if (end - it > 1) std::stable_sort(it, end, [&](auto a, auto b) { return combining(a) < combining(b); });
    it = end;
  }
}

void append_normalized(std::string& out, std::string_view text, NormalForm form) {
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  std::vector<utf8proc_int32_t> characters;
  characters.reserve(text.size());
  append_decomposed(
      characters, text,
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0)));
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) {
    const auto n = utf8proc_normalize_utf32(characters.data(), static_cast<utf8proc_ssize_t>(characters.size()),
                                            static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    if (n < 0) throw InternalError("Unicode composition failed");
    characters.resize(static_cast<std::size_t>(n));
  }
  for (const auto c : characters) append_character(out, static_cast<char32_t>(c));
}

}  // namespace

std::size_t character_length(char lead) {
  const auto b = static_cast<unsigned char>(lead);
  return b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

char32_t next_character(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[at + i])); };
  const std::size_t length = std::min(character_length(text[at]), text.size() - at);
  char32_t c = 0;
  switch (length) {
    case 1:
      c = byte(0);
      break;
    case 2:
      c = (byte(0) & 0x1F) << 6 | (byte(1) & 0x3F);
      break;
    case 3:
      c = (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
      break;
    default:
      c = (byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
      break;
  }
  at += length;
  return c;
}

void append_character(std::string& out, char32_t c) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xC0 | (c >> 6)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | (c >> 12)));
    out.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | (c >> 18)));
    out.push_back(static_cast<char>(0x80 | ((c >> 12) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  }
}

std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_numeric(char32_t c) { return (rust_bits(c) & 1) != 0; }
bool is_punctuation(char32_t c) { return (rust_bits(c) & 2) != 0; }
bool is_word(char32_t c) { return (rust_bits(c) & 4) != 0; }
bool is_mark(char32_t c) { return (rust_bits(c) & 8) != 0; }
bool is_nonspacing(char32_t c) { return (rust_bits(c) & 16) != 0; }
bool is_control(char32_t c) { return (rust_bits(c) & 32) != 0; }

std::string normalize(std::string_view text, NormalForm form) {
  if (is_ascii(text)) return std::string(text);
  std::string out;
  out.reserve(text.size());
  std::size_t begin = 0;  // of the part since the last character that is left alone
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t here = at;
    if (!normalizes_after_unicode_9(next_character(text, at))) continue;
    append_normalized(out, text.substr(begin, here - begin), form);
    out += text.substr(here, at - here);
    begin = at;
  }
  append_normalized(out, text.substr(begin), form);
  return out;
}

std::string lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_character(text, at);
    if (c == 0x130) {  // İ, the one character whose lower case is two
      out += "i\xCC\x87";
    } else {
      append_character(out, lower_of(c));
    }
  }
  return out;
}

}  // namespace lowrank::data
