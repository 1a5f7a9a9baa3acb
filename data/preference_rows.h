// Rows of preference data: a prompt and two answers to it, of which one was preferred.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/rows.h"

namespace lowrank::data {

/// How a file's pairs are keyed.
enum class PairKeys { kConversations, kMessages, kAlpaca, kPrompt, kQuestion, kWhole };
std::string pair_keys_name(PairKeys keys);  // "prompt/chosen/rejected"

/// Both sides, as spans or as conversations; learned is the answer with its end, and nothing of the prompt.
struct Pair {
  std::vector<Span> chosen, rejected;
  std::optional<Conversation> chosen_turns, rejected_turns;  // instead
};

/// Reads the rows of one file, all keyed as the first is:
/// {"prompt", "chosen", "rejected"}: three strings, or three lists of messages (TRL's);
/// {"chosen", "rejected"}: two lists of messages, or two strings (hh-rlhf's); what both begin with is the prompt, as in
/// TRL;
/// {"instruction", "input", "chosen", "rejected"}: strings, the prompt laid out as in the Stanford Alpaca data set, or,
/// where the layout has a template, a question and its answers;
/// {"conversations", "chosen", "rejected"}, {"messages", …}: turns, and one turn each (LLaMA-Factory's).
/// Turns are read as TurnReader does; where the layout has a template, they stay conversations.
class PairReader {
 public:
  /// `layout` must outlive the reader.
  PairReader(std::string file, const ChatLayout& layout, bool has_end_token)
      : file_(std::move(file)), layout_(layout), has_end_token_(has_end_token), turns_(layout) {}

  /// DataError: not an object, keys missing or unlike the rows before it, a value of a wrong type, a side without an
  /// answer, equal sides, strings without a common beginning, an unpaired row (KTO's).
  Pair read(const core::JsonView& row);

  std::optional<PairKeys> keys() const { return keys_; }
  /// A row so far was made of messages.
  bool conversations() const { return conversations_; }
  /// Keys that rows had and nothing read.
  const std::set<std::string>& unread_keys() const { return unread_; }
  const TurnNotes& turn_notes() const { return turns_.notes(); }

 private:
  void settle_keys(const core::JsonView& row);
  Pair pair_of(const core::JsonView& row);
  Pair of_turns(const core::JsonView& prompt, const core::JsonView& sides, const core::JsonView& row);
  Pair of_question(const core::JsonView& question, const core::JsonView& row);
  Pair of_whole(const core::JsonView& row);

  std::string file_;
  const ChatLayout& layout_;
  bool has_end_token_, conversations_ = false;
  TurnReader turns_;
  std::optional<PairKeys> keys_;
  std::set<std::string> unread_;
};

}  // namespace lowrank::data
