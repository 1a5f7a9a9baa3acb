#include "lowrank/data/dataset.h"

#include <functional>
#include <set>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/progress_scope.h"
#include "lowrank/core/text.h"
#include "lowrank/data/assemble.h"
#include "lowrank/data/conversation.h"
#include "lowrank/data/perturb.h"
#include "lowrank/data/row_file.h"
#include "lowrank/data/rows.h"
#include "lowrank/data/sniff.h"
#include "lowrank/data/sources.h"
#include "lowrank/data/text_documents.h"

namespace lowrank::data {
namespace {

/// What happens to a text, the n-th that is read, before it is tokenized; null: nothing.
using Change = std::function<std::string(const std::string& text, std::uint64_t n)>;

/// What a reading collects beside the examples.
struct Reading {
  const Tokenizer& tokenizer;
  const DataOptions& options;
  Assembler assembler;
  std::vector<std::string> digests;  // of each source, in order
  std::set<std::string> formats, unread_keys;
  bool conversations = false, questions = false, alpaca = false;
  core::ProgressObserver* progress;
  std::uint64_t bytes_done = 0;
  Change change = nullptr;
  std::uint64_t texts = 0;  // read so far

  std::string changed(const std::string& text) {
    const std::uint64_t n = texts++;
    return change ? change(text, n) : text;
  }

  void advance(std::uint64_t bytes_of_source) const {
    if (progress != nullptr) progress->advance(static_cast<std::int64_t>(bytes_done + bytes_of_source));
  }
};

void read_text(Reading& reading, const std::filesystem::path& file) {
  std::string raw;
  try {
    raw = core::read_file(file);
  } catch (const FormatError& e) {
    throw DataError(e.what());
  }
  refuse_foreign_bytes(raw, file.string());
  reading.digests.push_back(core::sha256(raw));
  const CleanText clean = clean_text(std::move(raw));
  ReadReport& report = reading.assembler.report();
  report.bom_files += clean.had_bom;
  report.crlf_files += clean.had_cr;
  report.replaced_bytes += clean.replaced_bytes;
  const std::vector<TextPart> parts = split_documents(clean.text);
  for (const TextPart& part : parts) {
    const std::string line = parts.size() == 1 ? "" : " line " + std::to_string(part.line);
    reading.assembler.add_text(reading.changed(std::string(part.text)), file.string() + line);
    reading.advance(static_cast<std::uint64_t>(part.text.data() + part.text.size() - clean.text.data()));
  }
  reading.formats.insert(row_keys_name(RowKeys::kText));
}

void refuse_chat_template(const Reading& reading, RowKeys keys, const std::string& where) {
  if (!is_conversation(keys) || !reading.tokenizer.has_chat_template()) return;
  throw DataError(where + ": " + row_keys_name(keys) +
                  " rows are refused until chat templates are rendered: this model "
                  "has one, and another layout would teach it the wrong turns; convert the rows to {\"prompt\", "
                  "\"completion\"}, or name another format of theirs with `format`");
}

void read_rows(Reading& reading, const Source& source) {
  const core::FileStamp stamp = core::stamp_of(source.file);
  RowReader reader(source.file.string(), reading.options.format, reading.tokenizer.eos().has_value());
  const RowFileFacts facts = for_each_row(source, [&](const core::JsonView& row, std::uint64_t bytes) {
    const bool first = !reader.keys();
    std::vector<Span> spans = reader.read(row);
    if (first) refuse_chat_template(reading, *reader.keys(), row.where());
    if (*reader.keys() == RowKeys::kText) {
      reading.assembler.add_text(reading.changed(spans.front().text), row.where());
    } else {
      for (Span& span : spans) {
        if (!span.learned) span.text = reading.changed(span.text);
      }
      reading.assembler.add_row(spans, row.where());
    }
    reading.advance(bytes);
  });
  reading.digests.push_back(core::sha256_file(source.file));
  core::check_unchanged(source.file, stamp);
  ReadReport& report = reading.assembler.report();
  report.bom_files += facts.had_bom;
  report.crlf_files += facts.had_crlf;
  reading.formats.insert(row_keys_name(*reader.keys()));
  reading.unread_keys.insert(reader.unread_keys().begin(), reader.unread_keys().end());
  reading.conversations = reading.conversations || is_conversation(*reader.keys());
  reading.questions = reading.questions || *reader.keys() == RowKeys::kQuestion;
  reading.alpaca = reading.alpaca || *reader.keys() == RowKeys::kAlpaca;
}

void add_notes(const Reading& reading, ReadReport& report) {
  if (reading.conversations) report.notes.push_back(conversation_layout(reading.tokenizer.eos().has_value()));
  if (reading.alpaca)
    report.notes.push_back("Alpaca rows are laid out as in the Stanford data set, answers after \"### Response:\\n\"");
  if (reading.questions) {
    report.notes.push_back("question/answer rows are read as prompt and completion, a newline between them");
  }
  if (reading.unread_keys.empty()) return;
  std::string keys;
  std::size_t n = 0;
  for (const std::string& key : reading.unread_keys) {
    if (++n > 8) break;
    keys += (keys.empty() ? "" : ", ") + core::printable(key, 40);
  }
  report.notes.push_back("keys of rows that are not read: " + keys + (n > 8 ? ", …" : ""));
}

std::string join(const std::set<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : " + ") + name;
  return all;
}

/// One source: its own hash. Several: the hash of theirs, a line each.
std::string combined(const std::vector<std::string>& digests) {
  if (digests.size() == 1) return digests.front();
  std::string lines;
  for (const std::string& digest : digests) lines += digest + "\n";
  return core::sha256(lines);
}

Dataset read_all(const std::vector<std::filesystem::path>& paths, const Tokenizer& tokenizer,
                 const DataOptions& options, const Change& change, core::ProgressObserver* progress) {
  Reading reading{tokenizer, options, Assembler(tokenizer, options), {}, {}, {}, false, false, false, progress,
                  0,         change};
  std::vector<std::string>& notes = reading.assembler.report().notes;
  const std::vector<Source> sources = find_sources(paths, options.format, notes);
  std::vector<std::uint64_t> sizes;
  std::uint64_t total = 0;
  for (const Source& source : sources) {
    sizes.push_back(core::stamp_of(source.file).size);
    total += sizes.back();
  }
  {
    const core::ProgressScope scope(progress, "reading data", static_cast<std::int64_t>(total), "bytes");
    for (std::size_t i = 0; i < sources.size(); ++i) {
      if (sources[i].kind == SourceKind::kText) {
        read_text(reading, sources[i].file);
      } else {
        read_rows(reading, sources[i]);
      }
      reading.bytes_done += sizes[i];
      reading.advance(0);
    }
  }
  ReadReport& report = reading.assembler.report();
  report.files = static_cast<std::int64_t>(sources.size());
  report.format = join(reading.formats);
  report.sha256 = combined(reading.digests);
  add_notes(reading, report);
  return reading.assembler.finish(paths);
}

}  // namespace

Dataset load(const std::vector<std::filesystem::path>& paths, const Tokenizer& tokenizer, const DataOptions& options,
             core::ProgressObserver* progress) {
  return read_all(paths, tokenizer, options, nullptr, progress);
}

Dataset load_perturbed(const std::vector<std::filesystem::path>& paths, const Tokenizer& tokenizer,
                       const DataOptions& options, const Perturbation& perturbation, std::uint64_t seed,
                       core::ProgressObserver* progress) {
  const Change change = [&](const std::string& text, std::uint64_t n) { return perturb(text, perturbation, seed, n); };
  return read_all(paths, tokenizer, options, change, progress);
}

Dataset from_texts(const std::vector<std::string>& texts, const Tokenizer& tokenizer, const DataOptions& options) {
  Assembler assembler(tokenizer, options);
  std::vector<std::string> digests;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    digests.push_back(core::sha256(texts[i]));
    assembler.add_text(texts[i], "text " + std::to_string(i));
  }
  assembler.report().format = row_keys_name(RowKeys::kText);
  assembler.report().sha256 = combined(digests);
  return assembler.finish();
}

}  // namespace lowrank::data
