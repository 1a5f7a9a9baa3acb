#include "lowrank/data/assemble.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/text_documents.h"

namespace lowrank::data {
namespace {

/// Where one side's first letters have merged with the last token of the prompt, its answer begins a token earlier: the
/// other side is learned from there on too, as TRL does it, so that both answers are judged after the same prompt.
void learn_from_the_same_place(Example& first, Example& second) {
  const auto begin = [](const Example& side) {
    return std::find(side.learned.begin(), side.learned.end(), 1) - side.learned.begin();
  };
  const auto common = std::min(begin(first), begin(second));
  if (!std::equal(first.ids.begin(), first.ids.begin() + common, second.ids.begin(), second.ids.begin() + common)) {
    return;  // other prompts
  }
  for (Example* side : {&first, &second}) {
    std::fill(side->learned.begin() + common, side->learned.begin() + begin(*side), 1);
  }
}

}  // namespace

Assembler::Assembler(const Tokenizer& tokenizer, const DataOptions& options)
    : tokenizer_(tokenizer), options_(options) {
  if (options.seq_len < 2) {
    throw ConfigError("`seq-len` must be at least 2 (a token and the next one to learn), found " +
                      std::to_string(options.seq_len));
  }
}

std::vector<TokenId> Assembler::encode(const std::string& text, bool first) const {
  std::vector<TokenId> ids = tokenizer_.encode(text, first);
  if (!first) return ids;
  if (tokenizer_.adds_eos() && !ids.empty() && ids.back() == tokenizer_.eos()) ids.pop_back();
  // A BOS written out in the text, and the one that is added: one is enough.
  const bool twice = tokenizer_.adds_bos() && ids.size() >= 2 && ids[0] == tokenizer_.bos() && ids[1] == ids[0];
  if (twice) ids.erase(ids.begin());
  return ids;
}

bool Assembler::is_new_document(const std::string& content, bool blank, const std::string& where) {
  ReadReport& report = dataset_.report;
  if (blank) {
    ++report.empty;
    return false;
  }
  const bool duplicate = !seen_.insert(std::hash<std::string>{}(content)).second;
  report.duplicates += duplicate ? 1 : 0;
  ++report.documents;
  dataset_.documents.push_back({where, duplicate});
  return true;
}

void Assembler::keep(Example example) {
  example.document = static_cast<std::uint32_t>(dataset_.documents.size() - 1);
  dataset_.report.tokens += static_cast<std::int64_t>(example.ids.size());
  dataset_.report.learned_tokens += example.counted();
  ++dataset_.report.examples;
  dataset_.examples.push_back(std::move(example));
}

void Assembler::add_text(const std::string& text, const std::string& where) {
  if (!is_new_document(text, is_blank(text), where)) return;
  std::vector<TokenId> ids = encode(text, true);
  if (tokenizer_.eos() && (ids.empty() || ids.back() != *tokenizer_.eos())) ids.push_back(*tokenizer_.eos());
  const auto length = static_cast<std::size_t>(options_.seq_len);
  for (std::size_t begin = 0; begin < ids.size(); begin += length) {
    const std::size_t end = std::min(begin + length, ids.size());
    if (end - begin < 2) {
      ++lone_tokens_;
      continue;
    }
    Example piece;
    piece.ids.assign(ids.begin() + static_cast<std::ptrdiff_t>(begin), ids.begin() + static_cast<std::ptrdiff_t>(end));
    piece.learned.assign(piece.ids.size(), 1);
    keep(std::move(piece));
  }
}

/// Appends spans[from, to), which end in an end token or the row: one text to the tokenizer.
void Assembler::add_unit(const std::vector<Span>& spans, std::size_t from, std::size_t to, Example& example) const {
  const bool first = example.ids.empty();
  std::string joint;
  for (std::size_t s = from; s < to; ++s) joint += spans[s].text;
  std::vector<TokenId> ids = encode(joint, first);
  const auto is_learned = [&](std::size_t s) {
    return spans[s].learned || (options_.train_on_prompt && !spans[s].muted);
  };
  std::vector<std::uint8_t> learned(ids.size(), is_learned(to - 1));

  std::string before;
  std::size_t begin = 0;
  for (std::size_t s = from; s + 1 < to; ++s) {
    before += spans[s].text;
    if (is_learned(s) == is_learned(s + 1)) continue;
    const std::vector<TokenId> head = encode(before, first);
    const auto agree = std::mismatch(head.begin(), head.end(), ids.begin(), ids.end()).second;
    const std::size_t end = std::max(begin, static_cast<std::size_t>(agree - ids.begin()));
    std::fill(learned.begin() + static_cast<std::ptrdiff_t>(begin), learned.begin() + static_cast<std::ptrdiff_t>(end),
              is_learned(s));
    begin = end;
  }
  if (spans[to - 1].ends && tokenizer_.eos()) {
    if (ids.empty() || ids.back() != *tokenizer_.eos()) {  // else it was written out
      ids.push_back(*tokenizer_.eos());
      learned.push_back(is_learned(to - 1));
    }
  }
  example.ids.insert(example.ids.end(), ids.begin(), ids.end());
  example.learned.insert(example.learned.end(), learned.begin(), learned.end());
}

void Assembler::add_row(const std::vector<Span>& spans, const std::string& where) {
  // What tells a row from another, and whether it has anything to learn from.
  std::string content;
  bool blank = true, any_learned = false;
  for (const Span& span : spans) {
    content += span.text + (span.learned ? '\1' : '\2');
    any_learned = any_learned || span.learned;
    if (span.learned || options_.train_on_prompt) blank = blank && is_blank(span.text);
  }
  if (!any_learned && !spans.empty()) blank = false;  // a conversation without an answer: masked, not blank
  if (!is_new_document(content, blank, where)) return;
  ++rows_;
  Example example = encode_row(spans);
  cut(example);
  if (example.counted() == 0) {
    ++dataset_.report.all_masked;
    return;
  }
  keep_row(std::move(example));
}

void Assembler::add_pair(const std::vector<Span>& chosen, const std::vector<Span>& rejected, const std::string& where) {
  std::string content;
  for (const auto* side : {&chosen, &rejected}) {
    for (const Span& span : *side) content += span.text + (span.learned ? '\1' : '\2');
    content += '\3';
  }
  if (!is_new_document(content, false, where)) return;
  rows_ += 2;
  Example first = encode_row(chosen), second = encode_row(rejected);
  learn_from_the_same_place(first, second);
  cut(first);
  cut(second);
  if (first.counted() == 0 || second.counted() == 0 || first.ids == second.ids) {
    dataset_.report.all_masked += 2;
    return;
  }
  keep_row(std::move(first));
  keep_row(std::move(second));
}

Example Assembler::encode_row(const std::vector<Span>& spans) const {
  Example example;
  for (std::size_t from = 0; from < spans.size();) {
    std::size_t to = from;
    while (to < spans.size() && !spans[to++].ends) {
    }
    add_unit(spans, from, to, example);
    from = to;
  }
  return example;
}

void Assembler::cut(Example& example) {
  longest_row_ = std::max(longest_row_, example.ids.size());
  const auto length = static_cast<std::size_t>(options_.seq_len);
  if (example.ids.size() <= length) return;
  example.cut = static_cast<std::int64_t>(example.ids.size() - length);
  ++dataset_.report.truncated;
  dataset_.report.truncated_tokens += example.cut;
  example.ids.resize(length);
  example.learned.resize(length);
}

void Assembler::keep_row(Example example) {
  ++rows_kept_;
  for (std::size_t i = 1; i < example.ids.size(); ++i) {
    if (example.learned[i] != 0 && example.ids[i] == tokenizer_.eos()) {
      ++rows_ended_;
      break;
    }
  }
  keep(std::move(example));
}

void Assembler::check_rows(const std::string& where) const {
  if (rows_ == 0) return;
  const std::string cut = core::format_count(dataset_.report.truncated) + " of " + core::format_count(rows_) +
                          " rows are longer than `seq-len` " + std::to_string(options_.seq_len);
  const std::string raise = "raise `seq-len` (the longest row has " +
                            core::format_count(static_cast<std::int64_t>(longest_row_)) + " tokens)";
  if (rows_kept_ == 0 && dataset_.report.truncated > 0) {
    throw DataError(where + "nothing is left to learn: every answer is masked or cut away, since " + cut + "; " +
                    raise + " or shorten the prompts");
  }
  if (rows_kept_ == 0) {
    throw DataError(where + "nothing is left to learn: no row has an answer; give answers, or pass `train-on-prompt`");
  }
  if (tokenizer_.eos() && rows_ended_ == 0) {
    throw DataError(where + "no answer reaches its end token, so the model would not learn to stop: " + cut + "; " +
                    raise);
  }
}

Dataset Assembler::finish(const std::vector<std::filesystem::path>& paths) {
  ReadReport& report = dataset_.report;
  std::string where;
  if (!paths.empty()) {
    where = paths.front().string() + (paths.size() > 1 ? " and " + std::to_string(paths.size() - 1) + " more: " : ": ");
  }
  if (report.documents == 0) {
    throw DataError(where + "there is no text: " +
                    (report.empty == 0   ? std::string("no documents were read")
                     : report.empty == 1 ? std::string("its one document is blank")
                                         : "all " + core::format_count(report.empty) + " documents are blank"));
  }
  check_rows(where);
  if (dataset_.examples.empty()) {
    throw DataError(where + "no document has two tokens, and the first is never predicted");
  }
  if (!tokenizer_.eos()) {
    report.notes.push_back("the tokenizer has no end token: documents and answers are not ended");
  }
  if (report.all_masked > 0) {
    report.notes.push_back(core::format_count(report.all_masked) +
                           " examples are left out: they have no answer, or none within `seq-len` " +
                           std::to_string(options_.seq_len));
  }
  if (lone_tokens_ > 0) {
    report.notes.push_back(core::format_count(lone_tokens_) +
                           " last pieces of a single token left off (a first token is not predicted)");
  }
  return std::move(dataset_);
}

}  // namespace lowrank::data
