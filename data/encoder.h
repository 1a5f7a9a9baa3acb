// From a document, row or conversation to examples: token ids, loss mask, cut to length. Each by itself, so that
// several threads may do it at once; what is counted over the whole is the Assembler's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/data/chat/conversation_text.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/rows.h"

namespace lowrank::data {

/// What one document, row, conversation or pair comes to.
struct Encoded {
  struct One {
    Example example;
    std::int64_t counted = 0;  // of the example
    bool ended = true;         // an answer's end is learned
  };
  std::vector<One> examples;  // with something to learn
  std::uint64_t content = 0;  // a hash that tells it from others
  bool blank = false;         // nothing is said in it; no examples
  bool conversation = false;  // a template laid it out, and this is how its mask was found:
  MaskFrom mask_from = MaskFrom::kPrefixes;
  std::int64_t texts = 0;  // of a conversation: into how many it was laid out
  std::int64_t rows = 0;   // that should have ended; 0 for text
  std::int64_t all_masked = 0, truncated = 0, truncated_tokens = 0, lone_tokens = 0;
  std::int64_t longest = 0;  // tokens of the longest row before the cut
  float margin = 0;          // of a pair
};

class Encoder {
 public:
  /// ConfigError when seq_len is under 2. `tokenizer` must outlive it.
  Encoder(const Tokenizer& tokenizer, const DataOptions& options);

  /// As the functions of the Assembler, which are named so, say.
  Encoded text(const std::string& text) const;
  Encoded row(const std::vector<Span>& spans) const;
  Encoded conversation(const std::vector<ConversationText>& texts, bool blank) const;
  Encoded pair(const std::vector<Span>& chosen, const std::vector<Span>& rejected) const;
  Encoded pair(const ConversationText& chosen, const ConversationText& rejected) const;

  const Tokenizer& tokenizer() const { return tokenizer_; }
  int seq_len() const { return seq_len_; }

 private:
  std::vector<TokenId> encode(const std::string& text, bool first) const;
  void add_unit(const std::vector<Span>& spans, std::size_t from, std::size_t to, Example& example) const;
  Example encode_row(const std::vector<Span>& spans) const;
  bool cut(Example& example, Encoded& encoded) const;
  void keep_pair(Example first, Example second, Encoded& encoded) const;

  const Tokenizer& tokenizer_;
  int seq_len_;
  bool train_on_prompt_;
};

}  // namespace lowrank::data
