// Rows of instruction data and what they say: runs of text, each learned or not, or a conversation.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/chat/turns.h"
#include "lowrank/data/dataset.h"

namespace lowrank::data {

/// A run of text inside an example. `ends`: the end token follows it. `muted`: not even learned where prompts are.
struct Span {
  std::string text;
  bool learned = false;
  bool ends = false;
  bool muted = false;
};

/// How a file's rows are keyed. Finer than Format: two of these are completions. kTurns: a row is a list of turns.
enum class RowKeys { kText, kCompletion, kQuestion, kAlpaca, kMessages, kShareGpt, kTurns };
std::string row_keys_name(RowKeys keys);  // "prompt/completion"

/// What a row says.
struct Row {
  std::vector<Span> spans;
  std::optional<Conversation> conversation;  // instead of spans
};

/// Reads the rows of one file, all keyed as the first is (or as `format` says). Rows of turns are conversations, be
/// they under "messages", "conversations", "conversation", "dialog", as "prompt" and "completion" (of which the
/// prompt's turns are context only), or the row itself. Where the layout has a template, so are question and answer,
/// and Alpaca's rows: instruction, a newline and input are the question; "system" and "history" come before it.
class RowReader {
 public:
  /// `layout` must outlive the reader.
  RowReader(std::string file, Format format, const ChatLayout& layout)
      : file_(std::move(file)), format_(format), layout_(layout), turns_(layout) {}

  /// The row at `row.where()`. {"text"} gives one span. DataError: neither an object nor turns, unknown keys, keyed
  /// unlike the rows before it, a key missing, a value of a wrong type, an unpaired preference row (KTO's).
  Row read(const core::JsonView& row);

  /// Known after the first row.
  std::optional<RowKeys> keys() const { return keys_; }
  /// Keys that rows had and nothing read.
  const std::set<std::string>& unread_keys() const { return unread_; }
  const TurnNotes& turn_notes() const { return turns_.notes(); }

 private:
  void settle_keys(const core::JsonView& row);
  void refuse_unlike(const core::JsonView& row);
  Row row_of(const core::JsonView& row);
  Conversation of_completion(const core::JsonView& row);
  Conversation of_alpaca(const core::JsonView& row);
  Conversation of_pair(const std::string& question, const std::string& answer, const core::JsonView& row);

  std::string file_;
  Format format_;
  const ChatLayout& layout_;
  TurnReader turns_;
  std::optional<RowKeys> keys_;
  std::string turns_key_;  // of conversations: where their turns stand
  std::set<std::string> unread_;
};

/// The first of these keys that a row has as a text; empty: none.
std::string first_text(const core::JsonView& row, const std::vector<std::string>& names);

/// DataError for a row that is one half of a preference (KTO's form, {"label": true} beside an answer): `verb` says
/// what the reader would do with it.
void refuse_unpaired(const core::JsonView& row, const std::string& verb);

/// DataError for a row that asks nothing: what it has, and what `columns` would say.
[[noreturn]] void no_prompt(const core::JsonView& row);

/// The prompt of an Alpaca row, in the layout of the Stanford data set, up to and including "### Response:\n". FormatError for a
/// row with earlier turns, which that layout has no place for.
std::string alpaca_prompt(const core::JsonView& row);
/// Its history, and the question that its instruction and input are, as turns.
core::Json alpaca_turns(const core::JsonView& row);

}  // namespace lowrank::data
