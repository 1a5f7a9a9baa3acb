// Records of CSV and TSV files (RFC 4180: "a ""quoted"" field" may hold separators and line ends).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/data/char_stream.h"

namespace lowrank::data {

class TableReader {
 public:
  /// `separator`: 0: the one of , ; TAB | that the first line has most of, or that a line "sep=;" before it names.
  /// Throws as TextStream does.
  explicit TableReader(const core::FileRef& file, char separator = 0);

  /// The fields of the next record that is no blank line; false at the end. DataError with the line: text after a
  /// closing quote, a quote that is never closed, a record over LineReader::kMaxLine.
  bool next(std::vector<std::string>& fields);

  std::int64_t line() const { return line_; }  // where the record last returned begins
  std::string where() const { return chars_.name() + " line " + std::to_string(line_); }
  char separator() const { return separator_; }
  std::uint64_t bytes_read() const { return stream_.position(); }
  /// Of what was read so far.
  TextFacts facts() const;

 private:
  void take_quoted(std::string& field);
  void take_field(std::string& field);

  TextStream stream_;
  std::string begin_;
  char separator_;
  CharStream chars_;
  std::int64_t line_ = 0;
  std::size_t record_bytes_ = 0;
};

/// A separator's name: "comma".
std::string separator_name(char separator);

}  // namespace lowrank::data
