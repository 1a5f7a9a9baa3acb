#include <algorithm>

#include "lowrank/core/text.h"

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

}  // namespace

std::size_t find_invalid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
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

std::string printable(std::string_view text, std::size_t max_chars) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size(); ++count) {
    if (count == max_chars) return out + "…";
    const Step step = step_at(text, i);
    const auto lead = static_cast<unsigned char>(text[i]);
    if (!step.valid || lead < 0x20 || lead == 0x7F) {
      if (lead == '\n') {
        out += "\\n";
      } else if (lead == '\t') {
        out += "\\t";
      } else if (lead == '\r') {
        out += "\\r";
      } else {
        out += {'\\', 'x', kHex[lead >> 4], kHex[lead & 15]};
      }
      ++i;  // one byte at a time, so that every invalid byte shows
      continue;
    }
    // C1 controls, and the marks that reorder or hide text on a terminal.
    const std::string_view c = text.substr(i, step.length);
    const bool hidden = (c.size() == 2 && lead == 0xC2 && static_cast<unsigned char>(c[1]) < 0xA0) ||
                        (c >= "\xE2\x80\x8B" && c <= "\xE2\x80\x8F") || (c >= "\xE2\x80\xA8" && c <= "\xE2\x80\xAE") ||
                        (c >= "\xE2\x81\xA6" && c <= "\xE2\x81\xA9") || c == "\xEF\xBB\xBF";
    if (hidden) {
      for (const char b : c) {
        const auto u = static_cast<unsigned char>(b);
        out += {'\\', 'x', kHex[u >> 4], kHex[u & 15]};
      }
    } else {
      out += c;
    }
    i += step.length;
  }
  return out;
}

}  // namespace lowrank::core
