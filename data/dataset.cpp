#include "lowrank/data/dataset.h"

#include <functional>
#include <set>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/progress_scope.h"
#include "lowrank/core/text.h"
#include "lowrank/data/assemble.h"
#include "lowrank/data/chat/turns.h"
#include "lowrank/data/conversation.h"
#include "lowrank/data/encode_queue.h"
#include "lowrank/data/mixture.h"
#include "lowrank/data/perturb.h"
#include "lowrank/data/row_file.h"
#include "lowrank/data/rows.h"
#include "lowrank/data/sources.h"
#include "lowrank/data/standard_input.h"
#include "lowrank/data/text_documents.h"
#include "lowrank/data/token_cache.h"
#include "lowrank/data/token_store.h"

namespace lowrank::data {
namespace {

/// What happens to a text, the n-th that is read, before it is tokenized; null: nothing.
using Change = std::function<std::string(const std::string& text, std::uint64_t n)>;

/// What a reading collects beside the examples.
struct Reading {
  Reading(const Tokenizer& with, const DataOptions& how, const Change& changed_by, core::ProgressObserver* observer)
      : tokenizer(with),
        options(how),
        layout(how.chat ? how.chat : chat_layout_of(with)),
        assembler(with, how),
        change(changed_by),
        progress(observer),
        queue(how.threads, [this](Encoded encoded, const EncodeQueue::Origin& origin) {
          take(std::move(encoded), origin);
        }) {}

  const Tokenizer& tokenizer;
  const DataOptions& options;
  std::shared_ptr<const ChatLayout> layout;
  Assembler assembler;
  const Change& change;
  core::ProgressObserver* progress;
  EncodeQueue queue;
  std::vector<std::string> digests = {};  // of each source, in order
  std::set<std::string> formats = {}, unread_keys = {};
  bool questions = false, alpaca = false, completions = false;
  LayoutUse use = {};
  TurnNotes turns = {};
  std::uint64_t bytes_done = 0;
  std::uint64_t texts = 0;  // read so far
  std::uint32_t source = 0;  // of what is read now
  std::vector<std::string> known = {};        // hashes of the sources, where they were taken before
  std::unique_ptr<TokenLog> log = nullptr;    // where the tokens are kept

  /// `encode` is done by some thread, with the encoder and what it holds alone.
  void add(EncodeQueue::Job encode, std::string where, std::size_t bytes) {
    if (log != nullptr && log->left() > 0) return count(log->next(), {std::move(where), source});
    queue.add(std::move(encode), {std::move(where), source}, bytes);
  }
  void take(Encoded encoded, const EncodeQueue::Origin& origin) {
    if (log != nullptr) log->append(encoded);
    count(std::move(encoded), origin);
  }
  void count(Encoded encoded, const EncodeQueue::Origin& origin) {
    if (encoded.conversation) use.add(encoded.mask_from, encoded.texts);
    assembler.set_source(origin.source);
    assembler.add(std::move(encoded), origin.where);
  }
  void add_text(std::string text, std::string where) {
    const std::size_t bytes = text.size();
    add([this, text = std::move(text)] { return assembler.encoder().text(text); }, std::move(where), bytes);
  }
  void add_row(std::vector<Span> spans, std::string where) {
    std::size_t bytes = 0;
    for (const Span& span : spans) bytes += span.text.size();
    add([this, spans = std::move(spans)] { return assembler.encoder().row(spans); }, std::move(where), bytes);
  }

  std::string changed(const std::string& text) {
    const std::uint64_t n = texts++;
    return change ? change(text, n) : text;
  }

  void advance(std::uint64_t bytes_of_source) const {
    if (progress != nullptr) progress->advance(static_cast<std::int64_t>(bytes_done + bytes_of_source));
  }
};

/// Of the next source, which is being read.
std::string digest_of(const Reading& reading, const core::FileRef& file) {
  return reading.known.empty() ? core::sha256_file(file) : reading.known.at(reading.digests.size());
}

void read_text(Reading& reading, const core::FileRef& file) {
  const core::FileStamp stamp = core::stamp_of(file);
  reading.digests.push_back(digest_of(reading, file));
  const auto see = [&](const std::string& text, std::int64_t line, bool only, std::uint64_t position) {
    reading.add_text(reading.changed(text), name_of(file) + (only ? "" : " line " + std::to_string(line)));
    reading.advance(position);
  };
  const CleanText clean = for_each_document(file, see);
  ReadReport& report = reading.assembler.report();
  report.bom_files += clean.had_bom;
  report.crlf_files += clean.had_cr;
  report.replaced_bytes += clean.replaced_bytes;
  if (!clean.note.empty()) report.notes.push_back(clean.note);
  core::check_unchanged(file, stamp);
  reading.formats.insert(row_keys_name(RowKeys::kText));
}

/// What stands around the answers, changed.
void change_prompts(Reading& reading, Conversation& conversation) {
  if (!reading.change) return;
  const std::vector<bool> learned = learned_turns(conversation, reading.layout->options());
  for (std::size_t i = 0; i < learned.size(); ++i) {
    core::Json& turn = conversation.turns[i];
    if (!learned[i] && turn.contains("content") && turn["content"].is_string())
      turn["content"] = reading.changed(turn["content"].get<std::string>());
  }
}

/// `bytes`: about what the conversation holds.
void add_conversation(Reading& reading, Conversation conversation, const std::string& where, std::size_t bytes) {
  const ChatLayout& layout = *reading.layout;
  change_prompts(reading, conversation);
  if (!layout.has_template()) {
    ++reading.use.plain;
    const bool ends = reading.tokenizer.eos().has_value();
    return reading.add_row(conversation_spans(conversation, layout.options(), ends), where);
  }
  reading.assembler.report().chat_template = true;
  const bool whole = reading.options.train_on_prompt;
  const Encoder& encoder = reading.assembler.encoder();
  const auto told = std::make_shared<const Conversation>(std::move(conversation));
  const auto encode = [&layout, &encoder, told, whole, where] {
    ConversationTexts texts;
    try {
      texts = whole ? layout.whole(*told) : layout.texts(*told);
    } catch (const DataError& error) {
      throw DataError(where + ": " + error.what());
    }
    Encoded encoded = encoder.conversation(texts.texts, is_blank(*told, layout.options()));
    encoded.mask_from = texts.from;
    return encoded;
  };
  reading.add(encode, where, bytes);
}

void read_rows(Reading& reading, const Source& source) {
  const core::FileStamp stamp = core::stamp_of(source.file);
  RowReader reader(name_of(source.file), reading.options.format, *reading.layout);
  std::uint64_t before = 0;
  const RowFileFacts facts = for_each_row(source, [&](const core::JsonView& row, std::uint64_t bytes) {
    Row read = reader.read(row);
    if (read.conversation) {
      add_conversation(reading, std::move(*read.conversation), row.where(), bytes - before);
    } else if (*reader.keys() == RowKeys::kText) {
      reading.add_text(reading.changed(read.spans.front().text), row.where());
    } else {
      for (Span& span : read.spans) {
        if (!span.learned) span.text = reading.changed(span.text);
      }
      reading.add_row(std::move(read.spans), row.where());
      reading.completions = reading.completions || *reader.keys() == RowKeys::kCompletion;
    }
    before = bytes;
    reading.advance(bytes);
  });
  reading.digests.push_back(digest_of(reading, source.file));
  core::check_unchanged(source.file, stamp);
  ReadReport& report = reading.assembler.report();
  report.bom_files += facts.had_bom;
  report.crlf_files += facts.had_crlf;
  report.notes.insert(report.notes.end(), facts.notes.begin(), facts.notes.end());
  reading.formats.insert(row_keys_name(*reader.keys()));
  reading.unread_keys.insert(reader.unread_keys().begin(), reader.unread_keys().end());
  reading.turns.add(reader.turn_notes());
  reading.questions = reading.questions || *reader.keys() == RowKeys::kQuestion;
  reading.alpaca = reading.alpaca || *reader.keys() == RowKeys::kAlpaca;
}

void add_notes(const Reading& reading, ReadReport& report) {
  const bool chats = reading.layout->has_template();
  for (std::string& note : layout_notes(*reading.layout, reading.use, reading.tokenizer.eos().has_value(), reading.options.train_on_prompt))
    report.notes.push_back(std::move(note));
  const ChatOptions& asked = reading.layout->options();
  if (asked.loss_on != LossOn::kAllAssistant && !reading.use.any()) {
    report.notes.push_back("`loss-on` is for the turns of conversations, and here are none: nothing is changed by it");
  }
  if (!asked.arguments.empty() && (!reading.use.any() || reading.use.plain > 0)) {
    report.notes.push_back("`template-arg` is for a chat template, which lays out nothing here: nothing is changed by it");
  }
  if (reading.alpaca) {
    report.notes.push_back(
        chats ? "Alpaca rows are read as a question (instruction, a newline, input) and its answer"
              : "Alpaca rows are laid out as in the Stanford data set, answers after \"### Response:\\n\"");
  }
  if (reading.questions) {
    report.notes.push_back(chats ? "question/answer rows are read as a question and its answer"
                                 : "question/answer rows are read as prompt and completion, a newline between them");
  }
  if (reading.completions && chats) {
    report.notes.push_back(
        "prompt/completion rows are learned as they stand, without the model's chat template; give them as lists of "
        "turns to have it around them");
  }
  for (std::string& note : reading.turns.sentences()) report.notes.push_back(std::move(note));
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

/// What the sources hold, as examples.
Dataset read_sources(Reading& reading, const std::vector<std::filesystem::path>& paths,
                     const std::vector<Source>& sources, const std::vector<core::FileStamp>& stamps) {
  std::uint64_t total = 0;
  for (const core::FileStamp& stamp : stamps) total += stamp.size;
  {
    const core::ProgressScope scope(reading.progress, "reading data", static_cast<std::int64_t>(total), "bytes");
    try {
      for (std::size_t i = 0; i < sources.size(); ++i) {
        reading.source = sources[i].given;
        if (sources[i].kind == SourceKind::kText) {
          read_text(reading, sources[i].file);
        } else {
          read_rows(reading, sources[i]);
        }
        if (!reading.known.empty()) core::check_unchanged(sources[i].file, stamps[i]);
        reading.bytes_done += stamps[i].size;
        reading.advance(0);
      }
    } catch (...) {
      reading.queue.finish();  // an error of an earlier row goes before
      throw;
    }
    reading.queue.finish();
  }
  ReadReport& report = reading.assembler.report();
  report.files = static_cast<std::int64_t>(sources.size());
  report.format = join(reading.formats);
  report.sha256 = combined(reading.digests);
  add_notes(reading, report);
  Dataset all = reading.assembler.finish(paths);
  if (reading.log != nullptr) reading.log->end(all);
  mix(all, paths, sources, reading.options.files.temperature);
  return all;
}

/// The data set of a folder of the cache. One that is damaged is emptied, and said; hold its lock for that.
std::optional<Dataset> kept_tokens(const std::filesystem::path& folder, const std::vector<std::string>& names, bool locked,
                                   core::ProgressObserver* progress) {
  try {
    return read_tokens(folder, names);
  } catch (const DataError& error) {
    if (!locked) return std::nullopt;
    if (progress != nullptr) progress->warning("the token cache is made again: " + std::string(error.what()));
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.path().filename().string().front() != '.') std::filesystem::remove(entry.path());
    }
    return std::nullopt;
  }
}

/// The same as read_sources through the folder of the cache.
Dataset read_through(const std::filesystem::path& folder, Reading& reading,
                     const std::vector<std::filesystem::path>& paths, const std::vector<Source>& sources,
                     const std::vector<core::FileStamp>& stamps) {
  core::ProgressObserver* const progress = reading.progress;
  std::vector<std::string> names;
  for (const Source& source : sources) names.push_back(name_of(source.file));
  core::make_folder(folder);
  const auto said = [&](Dataset all, const char* what) {
    if (progress != nullptr) progress->note(core::format_count(all.report.tokens) + what + folder.string());
    return all;
  };
  if (auto found = kept_tokens(folder, names, false, progress)) return said(std::move(*found), " tokens are read from ");
  const auto lock = wait_for(folder, progress);
  if (auto found = kept_tokens(folder, names, true, progress)) return said(std::move(*found), " tokens are read from ");
  try {
    reading.log = std::make_unique<TokenLog>(folder);
    reading.assembler.keep_in(reading.log.get());
    if (reading.log->left() > 0 && progress != nullptr) {
      progress->note("going on with the tokens of " + core::format_count(reading.log->left()) +
                     " documents that an earlier run left in " + folder.string());
    }
    Dataset all = read_sources(reading, paths, sources, stamps);
    reading.log->finish(all, names);
    return said(std::move(all), " tokens are kept in ");
  } catch (const IoError& error) {
    throw IoError(std::string(error.what()) +
                  "; tokens are kept in " + folder.string() + ": give another folder as `token-cache`, or off");
  }
}

Dataset read_all(const std::vector<std::filesystem::path>& paths, const Tokenizer& tokenizer,
                 const DataOptions& options, const Change& change, core::ProgressObserver* progress) {
  Reading reading(tokenizer, options, change, progress);
  if (options.train_on_prompt && reading.layout->options().loss_on != LossOn::kAllAssistant) {
    throw ConfigError("`train-on-prompt` learns every turn, and `loss-on` says which; give one of them");
  }
  const std::vector<std::string>& notes = reading.assembler.report().notes;
  const std::vector<Source> sources = find_sources(paths, options.format, reading.assembler.report().notes, options.files);
  std::vector<core::FileStamp> stamps;
  std::uint64_t total = 0;
  for (const Source& source : sources) {
    stamps.push_back(core::stamp_of(source.file));
    total += stamps.back().size;
  }
  if (!options.cache || change || total < options.cache->from_bytes || tokenizer.files().empty()) {
    return read_sources(reading, paths, sources, stamps);
  }
  std::vector<std::string> known;
  {
    const core::ProgressScope scope(progress, "hashing data", static_cast<std::int64_t>(sources.size()), "files");
    for (const Source& source : sources) {
      known.push_back(remembered_sha256(source.file, options.cache->folder / "files"));
      scope.advance(static_cast<std::int64_t>(known.size()));
    }
  }
  reading.known = std::move(known);
  const std::string key = token_cache_key(sources, reading.known, notes, tokenizer, *reading.layout, options);
  return read_through(options.cache->folder / key, reading, paths, sources, stamps);
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
