#include "lowrank/data/preferences.h"

#include <set>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/progress_scope.h"
#include "lowrank/core/text.h"
#include "lowrank/data/assemble.h"
#include "lowrank/data/conversation.h"
#include "lowrank/data/preference_rows.h"
#include "lowrank/data/row_file.h"
#include "lowrank/data/sources.h"

namespace lowrank::data {
namespace {

constexpr std::int64_t kPairsToSplit = 20;

/// What a reading collects beside the examples.
struct Reading {
  const Tokenizer& tokenizer;
  Assembler assembler;
  std::string digests;  // a line for each source, in order
  std::set<std::string> formats, unread_keys;
  bool conversations = false;
};

void refuse_chat_template(const Reading& reading, const std::string& where) {
  if (!reading.tokenizer.has_chat_template()) return;
  throw DataError(where +
                  ": pairs made of messages are refused until chat templates are rendered: this model has one, and "
                  "another layout would teach it the wrong turns; convert the rows to {\"prompt\", \"chosen\", "
                  "\"rejected\"} with strings");
}

void read_pairs(Reading& reading, const Source& source) {
  if (source.kind == SourceKind::kText) {
    throw DataError(source.file.string() +
                    " is plain text, but preference pairs are rows of .jsonl or .json, such as {\"prompt\": \"…\", "
                    "\"chosen\": \"…\", \"rejected\": \"…\"}");
  }
  const core::FileStamp stamp = core::stamp_of(source.file);
  PairReader reader(source.file.string(), reading.tokenizer.eos().has_value());
  const RowFileFacts facts = for_each_row(source, [&](const core::JsonView& row, std::uint64_t) {
    const PairSpans spans = reader.read(row);
    if (reader.conversations()) refuse_chat_template(reading, row.where());
    reading.assembler.add_pair(spans.chosen, spans.rejected, row.where());
  });
  reading.digests += core::sha256_file(source.file) + "\n";
  core::check_unchanged(source.file, stamp);
  ReadReport& report = reading.assembler.report();
  report.bom_files += facts.had_bom;
  report.crlf_files += facts.had_crlf;
  reading.formats.insert(pair_keys_name(*reader.keys()));
  reading.unread_keys.insert(reader.unread_keys().begin(), reader.unread_keys().end());
  reading.conversations = reading.conversations || reader.conversations();
}

std::string joined(const std::set<std::string>& names, const char* by) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : by) + core::printable(name, 40);
  return all;
}

}  // namespace

Dataset load_preferences(const std::vector<std::filesystem::path>& paths, const Tokenizer& tokenizer, int seq_len,
                         core::ProgressObserver* progress) {
  Reading reading{tokenizer, Assembler(tokenizer, {Format::kAuto, seq_len, false}), "", {}, {}, false};
  ReadReport& report = reading.assembler.report();
  const std::vector<Source> sources = find_sources(paths, Format::kAuto, report.notes);
  {
    const core::ProgressScope scope(progress, "reading pairs", static_cast<std::int64_t>(sources.size()), "files");
    for (std::size_t i = 0; i < sources.size(); ++i) {
      read_pairs(reading, sources[i]);
      scope.advance(static_cast<std::int64_t>(i + 1));
    }
  }
  report.files = static_cast<std::int64_t>(sources.size());
  report.format = joined(reading.formats, " + ");
  report.sha256 = core::sha256(reading.digests);
  if (reading.conversations) {
    report.notes.push_back(conversation_layout(tokenizer.eos().has_value()) +
                           "; of a pair only the last answer is learned, not the turns of its prompt");
  }
  if (!reading.unread_keys.empty()) {
    report.notes.push_back("keys of rows that are not read: " + joined(reading.unread_keys, ", "));
  }
  return reading.assembler.finish(paths);
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
