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
enum class PairKeys { kConversations, kAlpaca, kPrompt, kWhole };
std::string pair_keys_name(PairKeys keys);  // "prompt/chosen/rejected"

/// The spans of both sides; learned is the answer with its end, and nothing of the prompt.
struct PairSpans {
  std::vector<Span> chosen, rejected;
};

/// Reads the rows of one file, all keyed as the first is:
/// {"prompt", "chosen", "rejected"}: three strings, or three lists of messages (TRL's);
/// {"chosen", "rejected"}: two lists of messages; what both begin with is the prompt, as in TRL;
/// {"instruction", "input", "chosen", "rejected"}: strings, the prompt laid out as in the Stanford Alpaca data set;
/// {"conversations", "chosen", "rejected"}: turns, and one turn each (LLaMA-Factory's).
/// Messages are laid out as conversation_spans does; the turns of the prompt are not learned.
class PairReader {
 public:
  PairReader(std::string file, bool has_end_token) : file_(std::move(file)), has_end_token_(has_end_token) {}

  /// DataError: not an object, keys missing or unlike the rows before it, a value of a wrong type, a side without an
  /// answer, equal sides.
  PairSpans read(const core::JsonView& row);

  std::optional<PairKeys> keys() const { return keys_; }
  /// A row so far was made of messages.
  bool conversations() const { return conversations_; }
  /// Keys that rows had and nothing read.
  const std::set<std::string>& unread_keys() const { return unread_; }

 private:
  void settle_keys(const core::JsonView& row);
  PairSpans spans_of(const core::JsonView& row);
  PairSpans of_messages(const core::JsonView& prompt, const core::JsonView& row, const std::string& system);
  PairSpans of_whole(const core::JsonView& row);

  std::string file_;
  bool has_end_token_, conversations_ = false;
  std::optional<PairKeys> keys_;
  std::set<std::string> unread_;
};

}  // namespace lowrank::data
