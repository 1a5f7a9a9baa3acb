#include "lowrank/data/labelled.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_set>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/random.h"
#include "lowrank/core/text.h"
#include "lowrank/data/conversation.h"
#include "lowrank/data/parts.h"
#include "lowrank/data/row_file.h"
#include "lowrank/data/sources.h"
#include "lowrank/data/standard_input.h"
#include "lowrank/data/text_documents.h"

namespace lowrank::data {
namespace {

constexpr std::size_t kTextsToSplit = 20, kShown = 8;

/// What a reading collects beside the report.
struct LabelReading {
  const Tokenizer& tokenizer;
  std::shared_ptr<const ChatLayout> layout;
  TurnReader turns;
  std::size_t seq_len;
  LabelledTexts result;
  std::vector<std::string> names;  // the label of each document
  std::set<std::string> keys, unread;
  std::unordered_set<std::string> seen;
  std::int64_t trimmed = 0;  // labels with blanks at an end
};

/// "`columns` text=review,label=stars" of the keys that a row has, the longest string and what may be its label; a form
/// where they do not say.
std::string columns_hint(const core::JsonView& row) {
  std::string text, label, keys;
  std::size_t longest = 0, shown = 0;
  for (const std::string& key : row.keys()) {
    if (shown++ < kShown) keys += (keys.empty() ? "" : ", ") + core::printable(key, 40);
    const core::JsonView value = row.at(key);
    if (value.is_string() && value.as_string().size() > longest) longest = value.as_string().size(), text = key;
  }
  if (row.has_value("text")) text = "text";
  if (turns_key(row) != nullptr) text.clear();
  for (const char* usual : {"label", "labels", "class", "category", "target", "sentiment", "intent", "stars", "rating", "score", "y"})
    if (label.empty() && usual != text && row.has_value(usual)) label = usual;
  const auto plain = [](const std::string& key) { return key.find_first_of(",= ") == key.npos; };
  std::string hint;
  if (text != "text" && !text.empty() && plain(text)) hint = "text=" + text;
  if (label != "label" && label != "labels") hint += (hint.empty() ? "" : ",") + std::string("label=") + (label.empty() ? "COLUMN" : label);
  return "; the row has " + keys + (shown > kShown ? " …" : "") + ": name columns of other names with `columns` " + hint;
}

/// Blanks at the ends of a label are an editor's or a table's.
std::string without_blanks(const std::string& label) {
  constexpr const char* kBlanks = " \t\r\n";
  const std::size_t first = label.find_first_not_of(kBlanks);
  return first == label.npos ? "" : label.substr(first, label.find_last_not_of(kBlanks) + 1 - first);
}

/// A conversation as the text that is judged.
std::string conversation_text(LabelReading& reading, const core::JsonView& row, const char* key) {
  try {
    const Conversation conversation = reading.turns.read(row.at(key), row);
    if (reading.layout->has_template()) return reading.layout->whole(conversation).texts.front().text;
    std::string text;
    for (const Span& span : conversation_spans(conversation, {}, false)) text += span.text;
    return text;
  } catch (const FormatError& error) {  // a value of a wrong type: a fault of the data
    throw DataError(error.what());
  }
}

/// The label as text, and under which key it stands. A column of whole numbers comes as floats from a table that had gaps;
/// truth values are two classes by their names in JSON, in the order of 0 and 1.
std::string label_of(const core::JsonView& row, LabelReading& reading, const std::string& text) {
  const char* key = row.has("label") ? "label" : "labels";
  if (!row.has_value(key)) {
    throw DataError(row.where() + ": no label; expected the key \"label\" (or \"labels\") beside \"text\"" + (row.has(key) ? "" : columns_hint(row)));
  }
  reading.keys.insert(text + "/" + key);
  const core::JsonView value = row.at(key);
  if (value.is_string()) {
    const std::string own = value.as_string();
    std::string label = without_blanks(own);
    reading.trimmed += label.size() != own.size() ? 1 : 0;
    return label;
  }
  if (value.is_bool()) return value.as_bool() ? "true" : "false";
  if (value.raw().is_number_integer()) return std::to_string(value.as_int());
  constexpr double kExact = 9007199254740992;  // up to here every whole number is a double
  if (value.is_number() && std::fabs(value.as_double()) <= kExact && value.as_double() == std::floor(value.as_double()))
    return std::to_string(static_cast<std::int64_t>(value.as_double()));
  throw DataError(value.where() + ": expected a label as a string, a whole number or a truth value, found " +
                  core::printable(core::json_text(value.raw()), 40));
}

void add_row(LabelReading& reading, const core::JsonView& row) {
  const char* turns = row.has_value("text") ? nullptr : turns_key(row);
  if (turns == nullptr && (!row.is_object() || !row.has_value("text") || !row.at("text").is_string())) {
    throw DataError(row.where() + ": no text; expected {\"text\": \"…\", \"label\": \"…\"}" +
                    (row.is_object() && row.size() > 0 && !row.has_value("text") ? columns_hint(row) : ""));
  }
  const std::string text = turns != nullptr ? conversation_text(reading, row, turns) : row.at("text").as_string();
  const std::string label = label_of(row, reading, turns != nullptr ? turns : "text");
  const auto& beside = conversation_row_keys(reading.layout->has_template());
  for (const std::string& key : row.keys()) {
    const bool of_turns =
        turns != nullptr && (key == turns || std::find(beside.begin(), beside.end(), key) != beside.end());
    if (key != "text" && key != "label" && key != "labels" && !of_turns) reading.unread.insert(key);
  }
  ReadReport& report = reading.result.texts.report;
  if (is_blank(text)) {
    ++report.empty;
    return;
  }
  const bool duplicate = !reading.seen.insert(text).second;
  report.duplicates += duplicate ? 1 : 0;
  Example example;
  example.ids = reading.tokenizer.encode(text, turns == nullptr || !reading.layout->has_template());
  if (example.ids.size() > reading.seq_len) {
    ++report.truncated;
    example.cut = static_cast<std::uint32_t>(example.ids.size() - reading.seq_len);
    report.truncated_tokens += example.cut;
    example.ids.resize(reading.seq_len);
  }
  example.learned.assign(example.ids.size(), 0);
  example.learned.own().back() = 1;
  example.document = static_cast<std::uint32_t>(reading.result.texts.documents.size());
  report.tokens += static_cast<std::int64_t>(example.ids.size());
  report.learned_tokens += example.counted();
  reading.result.texts.documents.push_back({row.where(), duplicate});
  reading.result.texts.examples.push_back(std::move(example));
  reading.names.push_back(label);
}

void read_file(LabelReading& reading, const Source& source) {
  if (source.kind == SourceKind::kText) {
    throw DataError(
        name_of(source.file) +
        " is plain text, but labelled texts are rows of .jsonl or .json: {\"text\": \"…\", \"label\": \"…\"}");
  }
  const core::FileStamp stamp = core::stamp_of(source.file);
  const RowFileFacts facts =
      for_each_row(source, [&](const core::JsonView& row, std::uint64_t) { add_row(reading, row); });
  core::check_unchanged(source.file, stamp);
  ReadReport& report = reading.result.texts.report;
  report.bom_files += facts.had_bom;
  report.crlf_files += facts.had_crlf;
  report.notes.insert(report.notes.end(), facts.notes.begin(), facts.notes.end());
}

bool is_number(const std::string& text) {
  const std::size_t begin = text.starts_with('-') ? 1 : 0;
  return text.size() > begin && text.size() < 19 &&
         std::all_of(
             text.begin() + static_cast<std::ptrdiff_t>(begin), text.end(),
             [](char c) { return c >= '0' && c <= '9'; });
}

std::vector<std::string> sorted_labels(const std::vector<std::string>& names) {
  const std::set<std::string> different(names.begin(), names.end());
  std::vector<std::string> labels(different.begin(), different.end());
  if (std::all_of(labels.begin(), labels.end(), is_number)) {
    std::stable_sort(labels.begin(), labels.end(),
                     [](const std::string& a, const std::string& b) { return std::stoll(a) < std::stoll(b); });
  }
  return labels;
}

std::string joined(const std::vector<std::string>& names) {
  std::string all;
  for (std::size_t i = 0; i < std::min(kShown, names.size()); ++i) {
    all += (i > 0 ? ", " : "") + core::printable(names[i], 40);
  }
  return all + (names.size() > kShown ? " …" : "");
}

void number_classes(LabelledTexts& result, const std::vector<std::string>& names) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto it = std::find_if(result.labels.begin(), result.labels.end(),  // those of an earlier adapter may have blanks
                                 [&](const std::string& label) { return without_blanks(label) == names[i]; });
    if (it == result.labels.end()) {
      throw DataError(result.texts.documents[i].where.text() + ": the label '" + core::printable(names[i], 80) +
                      "' is none of those that are learned (" + joined(result.labels) + ")" +
                      core::did_you_mean(names[i], result.labels));
    }
    result.classes.push_back(it - result.labels.begin());
  }
}

}  // namespace

std::vector<std::int64_t> LabelledTexts::counts(const Dataset& part) const {
  std::vector<std::int64_t> result(labels.size(), 0);
  for (const Example& example : part.examples) ++result[static_cast<std::size_t>(class_of(example))];
  return result;
}

LabelledTexts load_labelled(const std::vector<std::filesystem::path>& paths, const Tokenizer& tokenizer, int seq_len,
                            const std::vector<std::string>& labels, std::shared_ptr<const ChatLayout> chat,
                            const FileOptions& files) {
  if (chat == nullptr) chat = chat_layout_of(tokenizer);
  const ChatLayout& layout = *chat;
  LabelReading reading{tokenizer, std::move(chat), TurnReader(layout), static_cast<std::size_t>(seq_len), {}, {}, {}, {},
                  {}};
  ReadReport& report = reading.result.texts.report;
  std::string digests;
  const std::vector<Source> sources = find_unweighted_sources(paths, report.notes, files);
  for (const Source& source : sources) {
    read_file(reading, source);
    digests += core::sha256_file(source.file) + "\n";
    ++report.files;
  }
  report.sha256 = core::sha256(digests);
  for (const std::string& keys : reading.keys) report.format += (report.format.empty() ? "" : " + ") + keys;
  report.documents = report.examples = static_cast<std::int64_t>(reading.names.size());
  if (reading.names.empty()) {
    throw DataError("no labelled text is left in " + paths.front().string() + ": " + core::format_count(report.empty) +
                    " are blank");
  }
  if (!reading.unread.empty()) {
    report.notes.push_back("keys of rows that are not read: " + joined({reading.unread.begin(), reading.unread.end()}));
  }
  if (reading.trimmed > 0) {
    report.notes.push_back(core::format_count(reading.trimmed) + " labels have blanks at an end, which are no part of them");
  }
  for (std::string& note : reading.turns.notes().sentences()) report.notes.push_back(std::move(note));
  reading.result.labels = labels.empty() ? sorted_labels(reading.names) : labels;
  number_classes(reading.result, reading.names);
  return std::move(reading.result);
}

Split split_labelled(const LabelledTexts& all, double fraction, std::uint64_t seed) {
  Split result;
  const auto n = all.texts.examples.size();
  std::vector<bool> held(n, false);
  if (fraction > 0 && n >= kTextsToSplit) {
    const core::RandomStream random(seed, "split");
    for (std::size_t k = 0; k < all.labels.size(); ++k) {
      std::vector<std::size_t> of_class;
      for (std::size_t i = 0; i < n; ++i) {
        if (all.class_of(all.texts.examples[i]) == static_cast<std::int64_t>(k)) of_class.push_back(i);
      }
      if (of_class.size() < 2) continue;
      const auto count = std::clamp<std::size_t>(
          static_cast<std::size_t>(std::llround(fraction * static_cast<double>(of_class.size()))), 1,
          of_class.size() - 1);
      const std::vector<std::uint32_t> order = random.permutation(static_cast<std::uint32_t>(of_class.size()), k);
      for (std::size_t i = 0; i < count; ++i) held[of_class[order[i]]] = true;
    }
  }
  hold_out(all.texts, held, result);
  result.how = result.validation.examples.empty() ? "none: fewer than 20 texts are not split; give `val-data`"
                                                  : core::format_count(result.validation.report.examples) + " of " +
                                                        core::format_count(static_cast<std::int64_t>(n)) +
                                                        " texts held out, of each class by the seed";
  return result;
}

}  // namespace lowrank::data
