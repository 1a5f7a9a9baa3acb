#include "lowrank/data/tokenizer/base64.h"

#include <array>
#include <cstdint>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::data {

std::string decode_base64(std::string_view text, const std::string& where) {
  static constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  static const std::array<int, 256> value_of = [] {
    std::array<int, 256> out;
    out.fill(-1);
    for (std::size_t i = 0; i < kDigits.size(); ++i) out[static_cast<unsigned char>(kDigits[i])] = static_cast<int>(i);
    return out;
  }();
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char& c : text) {
    const int value = value_of[static_cast<unsigned char>(c)];
    if (value < 0) throw FormatError(where + ": expected base64, found '" + core::printable({&c, 1}) + "'");
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out.push_back(static_cast<char>(bits >> count & 0xFF));
  }
  return out;
}

}  // namespace lowrank::data
