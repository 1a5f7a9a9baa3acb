// Examples put together to a data set, and what is told of the whole.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/data/dataset.h"
#include "lowrank/data/encoder.h"
#include "lowrank/data/rows.h"
#include "lowrank/data/seen.h"

namespace lowrank::data {

/// What keeps the documents and examples of a data set that are not to be held in memory.
class RecordSink {
 public:
  virtual ~RecordSink() = default;
  virtual void add(const Document& document) = 0;
  virtual void add(Example example) = 0;  // of the last document
};

/// Adds documents and rows to a Dataset and keeps its report.
class Assembler {
 public:
  /// ConfigError when seq_len is under 2.
  Assembler(const Tokenizer& tokenizer, const DataOptions& options);

  /// A document: BOS if the tokenizer adds one, text, EOS; in pieces of at most seq_len, all of it learned.
  void add_text(const std::string& text, const std::string& where) { add(encoder_.text(text), where); }

  /// A row. The spans up to an end token are encoded together, so that token borders are those of the joined text (no
  /// prefix space in the middle, none lost); a span is masked up to where the ids of the text before its border agree
  /// with the joint ids. A token that reaches over the border belongs to what follows it. BOS comes once, at the start.
  void add_row(const std::vector<Span>& spans, const std::string& where) { add(encoder_.row(spans), where); }

  /// A conversation that a template laid out: an example of each of its texts, all of one document. `blank`: nothing is
  /// said in any of its answers.
  void add_conversation(const std::vector<ConversationText>& texts, bool blank, const std::string& where) {
    add(encoder_.conversation(texts, blank), where);
  }

  /// A preference pair as two examples of one document, the chosen first, each as add_row makes it, but that both
  /// answers are learned from the place where the earlier of them begins. Dropped, and
  /// counted as all masked, where nothing of an answer is left of either side, or where the cut left both sides the
  /// same.
  template <typename Side>  // spans, or a ConversationText
  void add_pair(const Side& chosen, const Side& rejected, const std::string& where, float margin = 0) {
    Encoded encoded = encoder_.pair(chosen, rejected);
    encoded.margin = margin;
    add(std::move(encoded), where);
  }

  /// What encoder() made of one of these. It does not look into the examples' ids and masks.
  void add(Encoded encoded, const std::string& where);

  /// Checks the whole and gives it away. DataError, beginning with `paths` where it was read from files: nothing read,
  /// all masked, no answer reaches its end token.
  Dataset finish(const std::vector<std::filesystem::path>& paths = {});

  /// Documents and examples go there, and finish() gives a data set that has none; `sink` must outlive this.
  void keep_in(RecordSink* sink) { sink_ = sink; }

  const Encoder& encoder() const { return encoder_; }
  ReadReport& report() { return dataset_.report; }

  /// Documents from here on lie at this one of the paths that were given.
  void set_source(std::uint32_t source) { source_ = source; }

 private:
  void check_rows(const std::string& where) const;

  Encoder encoder_;
  std::string roles_;  // that the loss is on, where it names some
  bool judged_;
  Dataset dataset_;
  RecordSink* sink_ = nullptr;
  Place last_;  // document's
  std::uint32_t source_ = 0;
  Seen seen_;                     // hashes of contents
  std::int64_t lone_tokens_ = 0;  // pieces of one token, left off
  std::int64_t rows_ = 0, rows_kept_ = 0, rows_ended_ = 0, longest_row_ = 0;
};

}  // namespace lowrank::data
