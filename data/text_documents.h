// Plain text files as documents.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "lowrank/core/file_ref.h"
#include <vector>

namespace lowrank::data {

/// A text made clean, and what that took.
struct CleanText {
  std::string text;  // UTF-8, no BOM, lines end in LF
  bool had_bom = false, had_cr = false;
  std::int64_t replaced_bytes = 0;  // of invalid UTF-8, made U+FFFD
  std::string note;                 // what should be said of the file's encoding
};
CleanText clean_text(std::string raw);

/// A whole file, decompressed and decoded. Throws as TextStream does; DataError over 4 GB.
CleanText read_clean_text(const core::FileRef& file);

struct TextPart {
  std::string_view text;
  std::int64_t line = 1;  // where it begins
};
/// Parts at <|endoftext|> alone on a line; the newline before and the one after go with it. Views into `text`.
std::vector<TextPart> split_documents(std::string_view text);

/// A document of a file, as it is read. `only`: the file is no more than this one; `position`: bytes of the file behind it.
using SeeDocument = std::function<void(std::string text, std::int64_t line, bool only, std::uint64_t position)>;
/// The documents of a whole file one after the other, the same as split_documents(read_clean_text()) gives, of which one
/// is in memory at a time. What it took is returned, without the text. Throws as TextStream does; DataError for a
/// document over 4 GB.
CleanText for_each_document(const core::FileRef& file, const SeeDocument& see);

/// Nothing but ASCII white space.
bool is_blank(std::string_view text);

}  // namespace lowrank::data
