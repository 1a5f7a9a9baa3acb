// Lines of a file of any size in bounded memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "lowrank/data/text_stream.h"

namespace lowrank::data {

class LineReader {
 public:
  static constexpr std::uint64_t kMaxLine = 128'000'000;

  /// Throws as TextStream does.
  explicit LineReader(const core::FileRef& file, std::uint64_t max_line_bytes = kMaxLine);

  /// The next line without its LF or CRLF; false at the end. DataError for a line over the limit (read no further than
  /// that). The view holds until the next call.
  bool next(std::string_view& line);

  std::int64_t line_number() const { return line_number_; }  // of the line last returned, from 1
  /// Of the file, up to that line's end; of a file that is compressed or no UTF-8, up to what was decoded for it.
  std::uint64_t bytes_read() const { return stream_.position() - (stream_.verbatim() ? rest_.size() : 0); }
  const std::string& name() const { return stream_.name(); }
  /// Of what was read so far.
  TextFacts facts() const;

 private:
  TextStream stream_;
  std::uint64_t max_line_bytes_;
  std::string_view rest_;  // of the stream's last stretch
  std::string line_;
  std::int64_t line_number_ = 0;
  bool had_crlf_ = false;
};

}  // namespace lowrank::data
