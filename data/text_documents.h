// Plain text files as documents.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lowrank::data {

/// A text made clean, and what that took.
struct CleanText {
  std::string text;  // UTF-8, no BOM, lines end in LF
  bool had_bom = false, had_cr = false;
  std::int64_t replaced_bytes = 0;  // of invalid UTF-8, made U+FFFD
};
CleanText clean_text(std::string raw);

struct TextPart {
  std::string_view text;
  std::int64_t line = 1;  // where it begins
};
/// Parts at <|endoftext|> alone on a line; the newline before and the one after go with it. Views into `text`.
std::vector<TextPart> split_documents(std::string_view text);

/// Nothing but ASCII white space.
bool is_blank(std::string_view text);

}  // namespace lowrank::data
