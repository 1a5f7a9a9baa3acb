#include "lowrank/data/tokenizer/byte_level.h"

#include <array>

#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data {

namespace {

struct Table {
  std::array<std::string, 256> text;        // of a byte
  std::array<std::int16_t, 512> byte_of{};  // of a character, -1 for none

  Table() {
    byte_of.fill(-1);
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool visible = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const char32_t c = visible ? static_cast<char32_t>(b) : next++;
      append_character(text[static_cast<std::size_t>(b)], c);
      byte_of[c] = static_cast<std::int16_t>(b);
    }
  }
};

const Table& table() {
  static const Table instance;
  return instance;
}

}  // namespace

void append_byte_level(std::string& out, std::string_view bytes) {
  const Table& t = table();
  for (const char b : bytes) out += t.text[static_cast<unsigned char>(b)];
}

std::optional<std::string> byte_level_bytes(std::string_view token) {
  const Table& t = table();
  std::string out;
  for (std::size_t at = 0; at < token.size();) {
    const char32_t c = next_character(token, at);
    if (c >= t.byte_of.size() || t.byte_of[c] < 0) return std::nullopt;
    out.push_back(static_cast<char>(t.byte_of[c]));
  }
  return out;
}

}  // namespace lowrank::data
