#include "lowrank/data/encoder.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "lowrank/core/error.h"
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
    std::fill(side->learned.begin() + common, side->learned.begin() + begin(std::as_const(*side)), 1);
  }
}

/// What tells a conversation from another: its text and what of it is learned.
std::string marked(const ConversationText& text) {
  std::string all = text.text;
  for (const ChatSpan& span : text.learned) all += '\1' + std::to_string(span.begin) + '\2' + std::to_string(span.end);
  return all + '\3';
}

std::uint64_t hash_of(const std::string& content) { return std::hash<std::string>{}(content); }

void add(Encoded& encoded, Example example, bool ended) {
  const std::int64_t counted = example.counted();
  encoded.examples.push_back({std::move(example), counted, ended});
}

}  // namespace

Encoder::Encoder(const Tokenizer& tokenizer, const DataOptions& options)
    : tokenizer_(tokenizer), seq_len_(options.seq_len), train_on_prompt_(options.train_on_prompt) {
  if (options.seq_len < 2) {
    throw ConfigError("`seq-len` must be at least 2 (a token and the next one to learn), found " +
                      std::to_string(options.seq_len));
  }
}

std::vector<TokenId> Encoder::encode(const std::string& text, bool first) const {
  std::vector<TokenId> ids = tokenizer_.encode(text, first);
  if (!first) return ids;
  if (tokenizer_.adds_eos() && !ids.empty() && ids.back() == tokenizer_.eos()) ids.pop_back();
  // A BOS written out in the text, and the one that is added: one is enough.
  const bool twice = tokenizer_.adds_bos() && ids.size() >= 2 && ids[0] == tokenizer_.bos() && ids[1] == ids[0];
  if (twice) ids.erase(ids.begin());
  return ids;
}

Encoded Encoder::text(const std::string& text) const {
  Encoded encoded;
  encoded.content = hash_of(text);
  encoded.blank = is_blank(text);
  if (encoded.blank) return encoded;
  std::vector<TokenId> ids = encode(text, true);
  if (tokenizer_.eos() && (ids.empty() || ids.back() != *tokenizer_.eos())) ids.push_back(*tokenizer_.eos());
  const auto length = static_cast<std::size_t>(seq_len_);
  for (std::size_t begin = 0; begin < ids.size(); begin += length) {
    const std::size_t end = std::min(begin + length, ids.size());
    if (end - begin < 2) {
      ++encoded.lone_tokens;
      continue;
    }
    Example piece;
    piece.ids.assign(ids.begin() + static_cast<std::ptrdiff_t>(begin), ids.begin() + static_cast<std::ptrdiff_t>(end));
    piece.learned.assign(end - begin, 1);
    add(encoded, std::move(piece), true);
  }
  return encoded;
}

/// Appends spans[from, to), which end in an end token or the row: one text to the tokenizer.
void Encoder::add_unit(const std::vector<Span>& spans, std::size_t from, std::size_t to, Example& example) const {
  const bool first = example.ids.empty();
  std::string joint;
  for (std::size_t s = from; s < to; ++s) joint += spans[s].text;
  std::vector<TokenId> ids = encode(joint, first);
  const auto is_learned = [&](std::size_t s) { return spans[s].learned || (train_on_prompt_ && !spans[s].muted); };
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

Example Encoder::encode_row(const std::vector<Span>& spans) const {
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

Encoded Encoder::row(const std::vector<Span>& spans) const {
  // What tells a row from another, and whether it has anything to learn from.
  Encoded encoded;
  std::string content;
  bool blank = true, any_learned = false;
  for (const Span& span : spans) {
    content += span.text + (span.learned ? '\1' : '\2');
    any_learned = any_learned || span.learned;
    if (span.learned || train_on_prompt_) blank = blank && is_blank(span.text);
  }
  if (!any_learned && !spans.empty()) blank = false;  // a conversation without an answer: masked, not blank
  encoded.content = hash_of(content);
  encoded.blank = blank;
  if (blank) return encoded;
  encoded.rows = 1;
  Example example = encode_row(spans);
  const bool ends = cut(example, encoded);
  if (example.counted() == 0) {
    encoded.all_masked = 1;
  } else {
    add(encoded, std::move(example), ends);
  }
  return encoded;
}

Encoded Encoder::conversation(const std::vector<ConversationText>& texts, bool blank) const {
  Encoded encoded;
  std::string content;
  for (const ConversationText& text : texts) content += marked(text);
  encoded.content = hash_of(content);
  encoded.blank = blank;
  encoded.conversation = true;
  encoded.texts = static_cast<std::int64_t>(texts.size());
  if (blank) return encoded;
  encoded.rows = std::max<std::int64_t>(1, encoded.texts);
  if (texts.empty()) ++encoded.all_masked;
  for (const ConversationText& text : texts) {
    Example example = encode_conversation(tokenizer_, text);
    const bool ends = cut(example, encoded);
    if (example.counted() == 0) {
      ++encoded.all_masked;
    } else {
      add(encoded, std::move(example), ends);
    }
  }
  return encoded;
}

Encoded Encoder::pair(const ConversationText& chosen, const ConversationText& rejected) const {
  Encoded encoded;
  encoded.content = hash_of(marked(chosen) + marked(rejected));
  keep_pair(encode_conversation(tokenizer_, chosen), encode_conversation(tokenizer_, rejected), encoded);
  return encoded;
}

Encoded Encoder::pair(const std::vector<Span>& chosen, const std::vector<Span>& rejected) const {
  Encoded encoded;
  std::string content;
  for (const auto* side : {&chosen, &rejected}) {
    for (const Span& span : *side) content += span.text + (span.learned ? '\1' : '\2');
    content += '\3';
  }
  encoded.content = hash_of(content);
  keep_pair(encode_row(chosen), encode_row(rejected), encoded);
  return encoded;
}

void Encoder::keep_pair(Example first, Example second, Encoded& encoded) const {
  encoded.rows = 2;
  learn_from_the_same_place(first, second);
  const bool first_ends = cut(first, encoded), second_ends = cut(second, encoded);
  if (first.counted() == 0 || second.counted() == 0 || first.ids == second.ids) {
    encoded.all_masked = 2;
    return;
  }
  add(encoded, std::move(first), first_ends);
  add(encoded, std::move(second), second_ends);
}

/// Whether an answer's end is still learned after it.
bool Encoder::cut(Example& example, Encoded& encoded) const {
  encoded.longest = std::max(encoded.longest, static_cast<std::int64_t>(example.ids.size()));
  const auto length = static_cast<std::size_t>(seq_len_);
  if (example.ids.size() <= length) return true;
  const Example& whole = example;
  const auto last = std::find(whole.learned.rbegin(), whole.learned.rend(), 1);
  const auto end = static_cast<std::size_t>(whole.learned.rend() - last);
  example.cut = static_cast<std::uint32_t>(whole.ids.size() - length);
  ++encoded.truncated;
  encoded.truncated_tokens += example.cut;
  example.ids.resize(length);
  example.learned.resize(length);
  if (end <= length) return true;
  for (std::size_t i = 1; i < length; ++i) {
    if (whole.learned[i] != 0 && whole.ids[i] == tokenizer_.eos()) return true;  // of an earlier turn
  }
  return false;
}

}  // namespace lowrank::data
