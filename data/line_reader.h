// Lines of a file of any size in bounded memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace lowrank::data {

class LineReader {
 public:
  static constexpr std::uint64_t kMaxLine = 128'000'000;

  /// MissingError, IoError; DataError when the first bytes are not those of UTF-8 text.
  explicit LineReader(std::filesystem::path file, std::uint64_t max_line_bytes = kMaxLine);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  /// The next line without its LF or CRLF, and on the first line without a BOM; false at the end. DataError for a line
  /// over the limit (read no further than that). The view holds until the next call.
  bool next(std::string_view& line);

  std::int64_t line_number() const { return line_number_; }  // of the line last returned, from 1
  std::uint64_t bytes_read() const { return bytes_read_; }   // of the file, up to that line's end
  bool had_bom() const { return had_bom_; }
  bool had_crlf() const { return had_crlf_; }

 private:
  bool refill();

  std::filesystem::path file_;
  std::uint64_t max_line_bytes_;
  int fd_ = -1;
  std::unique_ptr<char[]> buffer_;
  std::size_t begin_ = 0, end_ = 0;  // unread bytes of buffer_
  std::string line_;
  std::int64_t line_number_ = 0;
  std::uint64_t bytes_read_ = 0;
  bool had_bom_ = false, had_crlf_ = false;
};

}  // namespace lowrank::data
