#include "lowrank/data/preferences.h"

#include <set>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/progress_scope.h"
#include "lowrank/core/text.h"
#include "lowrank/data/assemble.h"
#include "lowrank/data/conversation.h"
#include "lowrank/data/mixture.h"
#include "lowrank/data/preference_rows.h"
#include "lowrank/data/row_file.h"
#include "lowrank/data/sources.h"
#include "lowrank/data/standard_input.h"

namespace lowrank::data {
namespace {

constexpr std::int64_t kPairsToSplit = 20;

/// What a reading collects beside the examples.
struct PairReading {
  const Tokenizer& tokenizer;
  std::shared_ptr<const ChatLayout> layout;
  bool judged;
  Assembler assembler;
  std::string digests = {};  // a line for each source, in order
  std::set<std::string> formats = {}, unread_keys = {};
  LayoutUse use = {};
  TurnNotes turns = {};
  std::int64_t two_prompts = 0;
};

/// The text that a side of a pair is: where the template rewrites the past, as inference would have shown the answer.
ConversationText side_text(PairReading& reading, const Conversation& side, const std::string& where) {
  try {
    ConversationTexts texts = reading.layout->texts(side);
    if (texts.texts.empty()) throw DataError("nothing of the answer is learned");
    reading.use.add(texts);
    return std::move(texts.texts.back());
  } catch (const DataError& error) {
    throw DataError(where + ": " + error.what());
  }
}

void add(PairReading& reading, const Pair& pair, const std::string& where) {
  if (!pair.chosen_turns) return reading.assembler.add_pair(pair.chosen, pair.rejected, where, pair.margin);
  reading.assembler.report().chat_template = true;
  const ConversationText chosen = side_text(reading, *pair.chosen_turns, where);
  reading.assembler.add_pair(chosen, side_text(reading, *pair.rejected_turns, where), where, pair.margin);
}

void read_pairs(PairReading& reading, const Source& source) {
  if (source.kind == SourceKind::kText) {
    throw DataError(name_of(source.file) +
                    " is plain text, but preference pairs are rows of .jsonl or .json, such as {\"prompt\": \"…\", "
                    "\"chosen\": \"…\", \"rejected\": \"…\"}");
  }
  const core::FileStamp stamp = core::stamp_of(source.file);
  PairReader reader(name_of(source.file), *reading.layout, reading.tokenizer.eos().has_value(), reading.judged);
  const RowFileFacts facts = for_each_row(
      source, [&](const core::JsonView& row, std::uint64_t) { add(reading, reader.read(row), row.where()); });
  reading.digests += core::sha256_file(source.file) + "\n";
  core::check_unchanged(source.file, stamp);
  ReadReport& report = reading.assembler.report();
  report.bom_files += facts.had_bom;
  report.crlf_files += facts.had_crlf;
  report.notes.insert(report.notes.end(), facts.notes.begin(), facts.notes.end());
  reading.formats.insert(pair_keys_name(*reader.keys()));
  reading.unread_keys.insert(reader.unread_keys().begin(), reader.unread_keys().end());
  reading.turns.add(reader.turn_notes());
  reading.two_prompts += reader.two_prompts();
  if (reader.conversations() && !reading.layout->has_template()) ++reading.use.plain;
}

std::string joined(const std::set<std::string>& names, const char* by) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : by) + core::printable(name, 40);
  return all;
}

}  // namespace

Dataset load_preferences(const std::vector<std::filesystem::path>& paths, const Tokenizer& tokenizer, int seq_len,
                         core::ProgressObserver* progress, std::shared_ptr<const ChatLayout> chat,
                         const FileOptions& files, bool judged) {
  if (chat == nullptr) chat = chat_layout_of(tokenizer);
  PairReading reading{tokenizer, std::move(chat), judged, Assembler(tokenizer, {.seq_len = seq_len, .judged = judged})};
  ReadReport& report = reading.assembler.report();
  const std::vector<Source> sources = find_sources(paths, Format::kAuto, report.notes, files);
  {
    const core::ProgressScope scope(progress, "reading pairs", static_cast<std::int64_t>(sources.size()), "files");
    for (std::size_t i = 0; i < sources.size(); ++i) {
      reading.assembler.set_source(sources[i].given);
      read_pairs(reading, sources[i]);
      scope.advance(static_cast<std::int64_t>(i + 1));
    }
  }
  report.files = static_cast<std::int64_t>(sources.size());
  report.format = joined(reading.formats, " + ");
  report.sha256 = core::sha256(reading.digests);
  for (std::string& note : layout_notes(*reading.layout, reading.use, tokenizer.eos().has_value())) {
    report.notes.push_back(std::move(note));
  }
  if (reading.use.any() && !judged)
    report.notes.push_back("of a pair the turns after its prompt are learned, not those of the prompt");
  if (reading.two_prompts > 0 && !judged)
    report.notes.push_back(core::format_count(reading.two_prompts) +
                           " pairs have sides that begin with different turns: answers to different prompts are compared");
  for (std::string& note : reading.turns.sentences()) report.notes.push_back(std::move(note));
  if (!reading.unread_keys.empty()) {
    report.notes.push_back("keys of rows that are not read: " + joined(reading.unread_keys, ", "));
  }
  Dataset all = reading.assembler.finish(paths);
  mix(all, paths, sources, files.temperature);
  return all;
}

std::int64_t pair_count(const Dataset& pairs) { return static_cast<std::int64_t>(pairs.examples.size() / 2); }

double shorter_wins(const Dataset& pairs) {
  double wins = 0;
  for (std::size_t i = 0; i + 1 < pairs.examples.size(); i += 2) {
    const std::int64_t chosen = pairs.examples[i].counted(), rejected = pairs.examples[i + 1].counted();
    wins += chosen < rejected ? 1 : chosen == rejected ? 0.5 : 0;
  }
  return wins / static_cast<double>(pair_count(pairs));
}

Split split_preferences(const Dataset& pairs, double fraction, std::uint64_t seed) {
  if (fraction > 0 && pair_count(pairs) < kPairsToSplit) {
    Split result;
    result.train = pairs;
    result.how = "none: fewer than 20 pairs are not split; give `val-data`";
    return result;
  }
  return split(pairs, fraction, seed);
}

}  // namespace lowrank::data
