#include "lowrank/data/script.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace lowrank::data {
namespace {

constexpr std::size_t kScripts = static_cast<std::size_t>(Script::kHan) + 1;
constexpr std::array<const char*, kScripts> kNames = {
    "no", "Latin", "Greek", "Cyrillic", "Armenian", "Hebrew", "Arabic", "Devanagari", "other Indic", "Thai",
    "Georgian", "Ethiopic", "Khmer", "Korean", "Japanese", "Chinese"};

struct Block {
  char32_t first, last;
  Script script;
};
// Letters among the blocks' signs are what counts; a sign more or less does not change a text's script.
constexpr std::array<Block, 32> kBlocks = {{
    {0x41, 0x5A, Script::kLatin},           {0x61, 0x7A, Script::kLatin},
    {0xC0, 0x24F, Script::kLatin},          {0x370, 0x3FF, Script::kGreek},
    {0x400, 0x52F, Script::kCyrillic},      {0x531, 0x58F, Script::kArmenian},
    {0x591, 0x5F4, Script::kHebrew},        {0x600, 0x6FF, Script::kArabic},
    {0x750, 0x77F, Script::kArabic},        {0x900, 0x97F, Script::kDevanagari},
    {0x980, 0xDFF, Script::kOtherIndic},    {0xE01, 0xEFF, Script::kThai},
    {0x10A0, 0x10FF, Script::kGeorgian},    {0x1100, 0x11FF, Script::kHangul},
    {0x1200, 0x139F, Script::kEthiopic},    {0x1780, 0x17FF, Script::kKhmer},
    {0x1E00, 0x1EFF, Script::kLatin},       {0x1F00, 0x1FFF, Script::kGreek},
    {0x2DE0, 0x2DFF, Script::kCyrillic},    {0x3041, 0x30FF, Script::kKana},
    {0x3131, 0x318E, Script::kHangul},      {0x31F0, 0x31FF, Script::kKana},
    {0x3400, 0x4DBF, Script::kHan},         {0x4E00, 0x9FFF, Script::kHan},
    {0xA640, 0xA69F, Script::kCyrillic},    {0xA8E0, 0xA8FF, Script::kDevanagari},
    {0xAC00, 0xD7A3, Script::kHangul},      {0xF900, 0xFAFF, Script::kHan},
    {0xFB1D, 0xFB4F, Script::kHebrew},      {0xFB50, 0xFDFF, Script::kArabic},
    {0xFE70, 0xFEFC, Script::kArabic},      {0x20000, 0x323AF, Script::kHan},
}};

/// The code point that begins at `at`, which moves on; U+FFFD for what is no UTF-8.
char32_t next(std::string_view text, std::size_t& at) {
  const auto byte = static_cast<unsigned char>(text[at++]);
  if (byte < 0x80) return byte;
  const int more = byte >= 0xF0 ? 3 : byte >= 0xE0 ? 2 : byte >= 0xC0 ? 1 : 0;
  if (more == 0) return 0xFFFD;
  char32_t c = byte & (0x3F >> more);
  for (int i = 0; i < more; ++i) {
    if (at >= text.size() || (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80) return 0xFFFD;
    c = c << 6 | (static_cast<unsigned char>(text[at++]) & 0x3F);
  }
  return c;
}

}  // namespace

Script script_of(char32_t c) {
  if (c < 0xC0) return (c | 0x20) - U'a' < 26 ? Script::kLatin : Script::kNone;  // most letters of most texts
  const auto found = std::partition_point(kBlocks.begin(), kBlocks.end(), [&](const Block& b) { return b.last < c; });
  return found != kBlocks.end() && c >= found->first ? found->script : Script::kNone;
}

std::string script_name(Script script) { return kNames.at(static_cast<std::size_t>(script)); }

Script main_script(std::string_view utf8) {
  std::array<std::int64_t, kScripts> letters{};
  for (std::size_t at = 0; at < utf8.size();) ++letters[static_cast<std::size_t>(script_of(next(utf8, at)))];
  letters[0] = 0;
  std::int64_t& kana = letters[static_cast<std::size_t>(Script::kKana)];
  if (const std::int64_t han = letters[static_cast<std::size_t>(Script::kHan)]; 10 * kana > han) kana += han;
  const auto most = std::max_element(letters.begin(), letters.end());
  return *most == 0 ? Script::kNone : static_cast<Script>(most - letters.begin());
}

}  // namespace lowrank::data
