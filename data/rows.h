// Rows of instruction data and what they say: runs of text, each learned or not.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/dataset.h"

namespace lowrank::data {

/// A run of text inside an example. `ends`: the end token follows it. `muted`: not even learned where prompts are.
struct Span {
  std::string text;
  bool learned = false;
  bool ends = false;
  bool muted = false;
};

/// How a file's rows are keyed. Finer than Format: two of these are completions.
enum class RowKeys { kText, kCompletion, kQuestion, kAlpaca, kMessages, kShareGpt };
std::string row_keys_name(RowKeys keys);  // "prompt/completion"
bool is_conversation(RowKeys keys);

/// Reads the rows of one file, all keyed as the first is (or as `format` says).
class RowReader {
 public:
  /// `has_end_token`: without one, turns of a conversation are parted by an empty line instead.
  RowReader(std::string file, Format format, bool has_end_token)
      : file_(std::move(file)), format_(format), has_end_token_(has_end_token) {}

  /// The row at `row.where()`. {"text"} gives one span. DataError: not an object, unknown keys, keyed unlike the rows
  /// before it, a key missing, a value of a wrong type.
  std::vector<Span> read(const core::JsonView& row);

  /// Known after the first row.
  std::optional<RowKeys> keys() const { return keys_; }
  /// Keys that rows had and nothing read.
  const std::set<std::string>& unread_keys() const { return unread_; }

 private:
  void settle_keys(const core::JsonView& row);

  std::string file_;
  Format format_;
  bool has_end_token_;
  std::optional<RowKeys> keys_;
  std::string turns_key_;  // of conversations: where their turns stand
  std::set<std::string> unread_;
};

/// The prompt of an Alpaca row, in the layout of the Stanford data set, up to and including "### Response:\n".
std::string alpaca_prompt(const std::string& instruction, const std::string& input);

}  // namespace lowrank::data
