#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "lowrank/core/text.h"
#include "lowrank/core/visible.h"

namespace lowrank::core {

namespace {

struct Step {
  std::size_t length;  // of the character, or of the maximal invalid part (at least 1)
  bool valid;
  bool cut;  // invalid only because the text ends inside the character
};

// One character at text[i], by table 3-7 of the Unicode standard: the first continuation byte's range depends on the
// lead byte, which is what rules out overlong forms, surrogates and values above U+10FFFF.
Step step_at(std::string_view text, std::size_t i) {
  const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[k]); };
  const unsigned char lead = byte(i);
  if (lead < 0x80) return {1, true, false};
  std::size_t more;
  unsigned char first_low = 0x80, first_high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    more = 1;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    more = 2;
    if (lead == 0xE0) first_low = 0xA0;
    if (lead == 0xED) first_high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    more = 3;
    if (lead == 0xF0) first_low = 0x90;
    if (lead == 0xF4) first_high = 0x8F;
  } else {
    return {1, false, false};
  }
  for (std::size_t k = 1; k <= more; ++k) {
    if (i + k == text.size()) return {k, false, true};
    const unsigned char next = byte(i + k);
    const unsigned char lowest = k == 1 ? first_low : 0x80, highest = k == 1 ? first_high : 0xBF;
    if (next < lowest || next > highest) return {k, false, false};
  }
  return {more + 1, true, false};
}

/// Whether the eight bytes at text[i] are there and ASCII: most of most texts is.
bool eight_ascii(std::string_view text, std::size_t i) {
  std::uint64_t eight = 0;
  if (text.size() - i < sizeof(eight)) return false;
  std::memcpy(&eight, text.data() + i, sizeof(eight));
  return (eight & 0x8080808080808080U) == 0;
}

}  // namespace

std::size_t find_invalid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    if (eight_ascii(text, i)) {
      i += 8;
      continue;
    }
    const Step step = step_at(text, i);
    if (!step.valid) return i;
    i += step.length;
  }
  return std::string_view::npos;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const Step step = step_at(text, i);
    if (step.valid) {
      out.append(text.substr(i, step.length));
    } else {
      out += "\xEF\xBF\xBD";
    }
    i += step.length;
  }
  return out;
}

std::size_t complete_utf8_prefix(std::string_view text) {
  // Only the last three bytes can begin a character that the end cuts off.
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
    const std::size_t i = text.size() - back;
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte & 0xC0) == 0x80) continue;
    return step_at(text, i).cut ? i : text.size();
  }
  return text.size();
}

namespace {

/// Ranges of characters that show nothing of themselves, and change how others stand or what is thought to stand there.
constexpr std::pair<char32_t, char32_t> kHidden[] = {
    {0x0, 0x1F},        {0x7F, 0x9F},                        // controls
    {0xAD, 0xAD},       {0x34F, 0x34F},     {0x61C, 0x61C},  // soft hyphen, grapheme joiner, Arabic letter mark
    {0x115F, 0x1160},   {0x17B4, 0x17B5},   {0x180E, 0x180E},  // fillers, inherent vowels, vowel separator
    {0x200B, 0x200F},   {0x2028, 0x202E},                    // zero widths, directions, separators of lines
    {0x2060, 0x206F},   {0x3164, 0x3164},   {0xFEFF, 0xFEFF},
    {0xFFA0, 0xFFA0},   {0xFFF0, 0xFFFB},   {0x1D173, 0x1D17A},  // filler, annotations, beams of music
    {0xE0000, 0xE0FFF},                                      // tags
};

bool hidden(char32_t c) {
  for (const auto& [first, last] : kHidden) {
    if (c <= last) return c >= first;
  }
  return false;
}

/// The code point of a valid character.
char32_t code_of(std::string_view c) {
  const auto lead = static_cast<unsigned char>(c[0]);
  if (c.size() == 1) return lead;
  char32_t code = lead & (0xFFu >> (c.size() + 1));
  for (const char next : c.substr(1)) code = code << 6 | (static_cast<unsigned char>(next) & 0x3Fu);
  return code;
}

void append_escaped(std::string& out, std::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  for (const char byte : bytes) {
    const auto b = static_cast<unsigned char>(byte);
    out += {'\\', 'x', kHex[b >> 4], kHex[b & 15]};
  }
}

/// `stays`: of the hidden ones, those that are left as they are. Cut to `most` characters with "…".
template <class Stays>
std::string escaped(std::string_view text, Stays stays, std::size_t most = std::string::npos) {
  std::string out;
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size(); ++count) {
    if (count == most) return out + "…";
    const Step step = step_at(text, i);
    if (!step.valid) {
      append_escaped(out, text.substr(i++, 1));  // one byte at a time, so that every invalid byte shows
      continue;
    }
    const std::string_view c = text.substr(i, step.length);
    i += step.length;
    const char32_t code = code_of(c);
    if (!hidden(code) || stays(code)) {
      out += c;
    } else if (code == '\n' || code == '\t' || code == '\r') {
      out += code == '\n' ? "\\n" : code == '\t' ? "\\t" : "\\r";
    } else {
      append_escaped(out, c);
    }
  }
  return out;
}

bool layout(char32_t c) { return c == '\n' || c == '\t'; }

}  // namespace

std::string printable(std::string_view text, std::size_t max_chars) {
  return escaped(text, [](char32_t) { return false; }, max_chars);
}

std::string visible_line(std::string_view text) {
  return escaped(text, [](char32_t) { return false; });
}

std::string visible_lines(std::string_view text) { return escaped(text, layout); }

std::string visible_prose(std::string_view text) {
  return escaped(text, [](char32_t c) { return layout(c) || c == 0x200C || c == 0x200D; });
}

namespace {

/// `beyond`: how a hidden character beyond U+FFFF is written.
template <class Beyond>
std::string quoted_visibly(std::string_view dumped, Beyond beyond) {
  std::string out;
  out.reserve(dumped.size());
  for (std::size_t i = 0; i < dumped.size();) {
    const Step step = step_at(dumped, i);
    const std::string_view c = dumped.substr(i, step.length);
    i += step.length;
    const char32_t code = step.valid ? code_of(c) : 0xFFFD;
    if (!hidden(code) || layout(code) || code == '\r') {
      out += step.valid ? c : "\xEF\xBF\xBD";
    } else if (code < 0x10000) {
      out += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(code));
    } else {
      out += beyond(static_cast<std::uint32_t>(code));
    }
  }
  return out;
}

}  // namespace

std::string visible_json(std::string_view dumped) {
  return quoted_visibly(dumped, [](std::uint32_t code) {
    code -= 0x10000;
    return fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF));
  });
}

std::string visible_yaml(std::string_view dumped) {
  return quoted_visibly(dumped, [](std::uint32_t code) { return fmt::format("\\U{:08x}", code); });
}

}  // namespace lowrank::core
