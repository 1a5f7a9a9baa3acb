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
enum class PairKeys { kConversations, kMessages, kAlpaca, kPrompt, kQuestion, kInput, kWhole };
std::string pair_keys_name(PairKeys keys);  // "prompt/chosen/rejected"

/// Both sides, as spans or as conversations; learned is the answer with its end, and nothing of the prompt.
struct Pair {
  std::vector<Span> chosen, rejected;
  std::optional<Conversation> chosen_turns, rejected_turns;  // instead
  float margin = 0;  // by which a judge should find the chosen better
};

/// Reads the rows of one file, all keyed as the first is:
/// {"prompt", "chosen", "rejected"}: three strings, or three lists of messages (TRL's);
/// {"chosen", "rejected"}: two lists of messages, or two strings (hh-rlhf's); what both begin with is the prompt, as in
/// TRL; so too where the prompt stands beside two whole conversations once more (UltraFeedback's);
/// {"instruction", "input", "chosen", "rejected"}: strings, the prompt laid out as in the Stanford Alpaca data set, or,
/// where the layout has a template, a question and its answers;
/// {"question", …} (orca_dpo_pairs) and {"input", …} (distilabel's), with or without "system";
/// {"conversations", "chosen", "rejected"}, {"messages", …}: turns, and one turn each (LLaMA-Factory's).
/// Turns are read as TurnReader does; where the layout has a template, they stay conversations.
class PairReader {
 public:
  /// `layout` must outlive the reader.
  /// `judged`: the answers are read and not written (rewards): two strings need no common beginning, and "margin" is read.
  PairReader(std::string file, const ChatLayout& layout, bool has_end_token, bool judged = false)
      : file_(std::move(file)), layout_(layout), has_end_token_(has_end_token), judged_(judged), turns_(layout) {}

  /// DataError: not an object, keys missing or unlike the rows before it, a value of a wrong type, a side without an
  /// answer, equal sides, strings without a common beginning, an unpaired row (KTO's).
  Pair read(const core::JsonView& row);

  std::optional<PairKeys> keys() const { return all_whole_ && keys_ ? PairKeys::kWhole : keys_; }
  /// A row so far was made of messages.
  bool conversations() const { return conversations_; }
  /// Keys that rows had and nothing read.
  const std::set<std::string>& unread_keys() const { return unread_; }
  const TurnNotes& turn_notes() const { return turns_.notes(); }
  /// Pairs whose sides are conversations that have no beginning in common: answers to two prompts.
  std::int64_t two_prompts() const { return two_prompts_; }

 private:
  void settle_keys(const core::JsonView& row);
  Pair pair_of(const core::JsonView& row);
  Pair of_turns(const core::JsonView& prompt, const core::JsonView& sides, const core::JsonView& row);
  Pair of_question(const core::JsonView& question, const core::JsonView& row);
  Pair of_whole(const core::JsonView& row);
  Pair of_strings(const core::JsonView& row) const;

  std::string file_;
  const ChatLayout& layout_;
  bool has_end_token_, judged_, conversations_ = false, all_whole_ = true;
  std::int64_t two_prompts_ = 0;
  TurnReader turns_;
  std::optional<PairKeys> keys_;
  std::set<std::string> unread_;
};

}  // namespace lowrank::data
