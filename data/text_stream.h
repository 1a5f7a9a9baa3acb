// The text of a file as UTF-8, whatever it is compressed with or encoded in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "lowrank/data/windows1252.h"
#include "lowrank/formats/byte_stream.h"

namespace lowrank::data {

/// What was found of a file's form while it was read.
struct TextFacts {
  bool had_bom = false, had_crlf = false;
  std::string encoding;     // "UTF-16", "Windows-1252"; empty: UTF-8
  std::string compression;  // "gzip", "zstd"; empty: none
};

/// What should be said of it: "notes.txt is UTF-16, and was read as such". Empty for plain UTF-8.
std::string encoding_note(const std::filesystem::path& file, const TextFacts& facts);

class TextStream {
 public:
  /// `file`: as find_sources gives it. MissingError, IoError; DataError where its first bytes are those of something
  /// else than text (see refuse_foreign_bytes).
  explicit TextStream(const core::FileRef& file);

  /// The next stretch of the text, without a BOM; empty at the end alone. It holds until the next call, and ends
  /// between characters. Bytes that are no UTF-8 in a file that is UTF-8 otherwise come as they are. DataError: an
  /// encoding that is neither UTF-8, UTF-16, UTF-32 nor Windows-1252, half a character of UTF-16.
  std::string_view next();

  /// Bytes of the file behind what was given.
  std::uint64_t position() const;
  /// The bytes are the file's own, but for a BOM.
  bool verbatim() const { return encoding_ <= Encoding::kBroken && facts_.compression.empty(); }
  const TextFacts& facts() const { return facts_; }
  const std::string& name() const { return name_; }

 private:
  enum class Encoding { kUtf8, kBroken, kWindows1252, kUtf16Little, kUtf16Big, kUtf32Little, kUtf32Big };

  bool read_more();  // into pending_; false at the end
  void find_encoding();
  std::string_view next_utf8();
  void settle_eight_bits(std::size_t first_invalid);
  void decode_wide();
  std::uint32_t unit(std::size_t at, std::size_t bytes) const;
  [[noreturn]] void other_encoding(const std::string& why) const;

  std::string name_;
  std::unique_ptr<formats::ByteStream> bytes_;
  Encoding encoding_ = Encoding::kUtf8;
  TextFacts facts_;
  Windows1252Evidence evidence_;
  std::string pending_, out_;  // read and not decoded yet; given out
  bool at_end_ = false, multibyte_ = false;
};

}  // namespace lowrank::data
