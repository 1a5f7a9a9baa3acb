// The values that a file of JSON holds as rows, one by one and in bounded memory, however they lie in it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/data/char_stream.h"

namespace lowrank::data {

/// How rows lie: a line each; one after the other, over several lines; in one array; in an array that a key of one
/// object holds ({"data": […]}).
enum class JsonLayout { kLines, kValues, kArray, kWrapped };
struct JsonForm {
  JsonLayout layout = JsonLayout::kLines;
  std::string key;  // of kWrapped
};

/// From the beginning of a text; `whole`: nothing follows it.
JsonForm json_form(std::string_view head, bool whole);

/// Rows of every layout but kLines.
class JsonValues {
 public:
  /// `begin`: what was read of the stream already.
  JsonValues(TextStream& stream, std::string begin, JsonForm form);

  /// The text of the next row; false at the end. DataError: what stands where a row, a comma or the end should; a file
  /// that ends inside of a row; a row over LineReader::kMaxLine. The view holds until the next call.
  bool next(std::string_view& value);

  /// Of the row last returned: "train.json row 3", or "train.jsonl line 12" where it begins.
  std::string where() const;
  /// Keys beside the one that holds the rows.
  const std::vector<std::string>& other_keys() const { return other_keys_; }
  bool had_crlf() const { return chars_.had_crlf(); }

 private:
  enum class State { kBegin, kRows, kDone };

  int after_blanks();  // the next character that is no white space; -1 at the end
  bool begin_wrapped();
  void end_wrapped();
  void take_member(bool& is_rows);
  void take_value(const std::string& what);
  void expect_end();
  [[noreturn]] void fail(const std::string& problem) const;
  [[noreturn]] void cut_off() const;

  CharStream chars_;
  JsonForm form_;
  std::string value_;
  State state_ = State::kBegin;
  std::int64_t row_ = 0, row_line_ = 1;
  std::vector<std::string> other_keys_;
};

}  // namespace lowrank::data
