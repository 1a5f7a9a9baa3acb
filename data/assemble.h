// From text to examples: token ids, loss mask, cut to length.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <unordered_set>
#include <vector>

#include "lowrank/data/dataset.h"
#include "lowrank/data/rows.h"

namespace lowrank::data {

/// Adds documents and rows to a Dataset and keeps its report.
class Assembler {
 public:
  /// ConfigError when seq_len is under 2.
  Assembler(const Tokenizer& tokenizer, const DataOptions& options);

  /// A document: BOS if the tokenizer adds one, text, EOS; in pieces of at most seq_len, all of it learned.
  void add_text(const std::string& text, const std::string& where);

  /// A row. The spans up to an end token are encoded together, so that token borders are those of the joined text (no
  /// prefix space in the middle, none lost); a span is masked up to where the ids of the text before its border agree
  /// with the joint ids. A token that reaches over the border belongs to what follows it. BOS comes once, at the start.
  void add_row(const std::vector<Span>& spans, const std::string& where);

  /// A preference pair as two examples of one document, the chosen first, each as add_row makes it, but that both
  /// answers are learned from the place where the earlier of them begins. Dropped, and
  /// counted as all masked, where nothing of an answer is left of either side, or where the cut left both sides the
  /// same.
  void add_pair(const std::vector<Span>& chosen, const std::vector<Span>& rejected, const std::string& where);

  /// Checks the whole and gives it away. DataError, beginning with `paths` where it was read from files: nothing read,
  /// all masked, no answer reaches its end token.
  Dataset finish(const std::vector<std::filesystem::path>& paths = {});

  ReadReport& report() { return dataset_.report; }

 private:
  bool is_new_document(const std::string& content, bool blank, const std::string& where);
  std::vector<TokenId> encode(const std::string& text, bool first) const;
  void add_unit(const std::vector<Span>& spans, std::size_t from, std::size_t to, Example& example) const;
  Example encode_row(const std::vector<Span>& spans) const;
  void cut(Example& example);
  void keep_row(Example example);
  void keep(Example example);
  void check_rows(const std::string& where) const;

  const Tokenizer& tokenizer_;
  DataOptions options_;
  Dataset dataset_;
  std::unordered_set<std::uint64_t> seen_;  // hashes of contents
  std::int64_t lone_tokens_ = 0;            // pieces of one token, left off
  std::int64_t rows_ = 0, rows_kept_ = 0, rows_ended_ = 0;
  std::size_t longest_row_ = 0;
};

}  // namespace lowrank::data
