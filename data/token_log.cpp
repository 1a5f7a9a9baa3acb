#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/mapped_pages.h"
#include "lowrank/data/token_format.h"
#include "lowrank/data/token_store.h"

namespace lowrank::data {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kCommit = std::size_t{32} << 20;  // bytes between two syncs: a few seconds of work

void put(std::string& to, std::uint64_t value) {
  for (; value >= 128; value >>= 7) to += static_cast<char>(value | 128);
  to += static_cast<char>(value);
}

std::uint64_t take(std::string_view bytes, std::size_t& at, const fs::path& folder) {
  std::uint64_t value = 0;
  for (int shift = 0; at < bytes.size() && shift < 64; shift += 7) {
    const auto byte = static_cast<std::uint8_t>(bytes[at++]);
    value |= static_cast<std::uint64_t>(byte & 127) << shift;
    if (byte < 128) return value;
  }
  throw DataError((folder / kItems).string() + " is damaged; remove the folder");
}

bool all_learned(const Example& example) {
  for (const std::uint8_t one : example.learned) {
    if (one != 1) return false;
  }
  return true;
}

std::string_view text_of(const core::MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

/// Adds the first `bytes` of a file.
void add_first(core::Digest& digest, const fs::path& file, std::uint64_t bytes) {
  core::InputFile input(core::FileRef::named(file));
  std::vector<char> buffer(std::size_t{1} << 18);
  while (bytes > 0) {
    const std::size_t n = std::min<std::uint64_t>(input.read(buffer), bytes);
    if (n == 0) throw IoError(file.string() + " was cut while it was read");
    digest.add({buffer.data(), n});
    bytes -= n;
  }
}

/// What stays of an example in memory.
void forget(Encoded::One& one, std::size_t length, bool masked) {
  one.example.ids = Values<TokenId>::view(nullptr, length);
  one.example.learned = Values<std::uint8_t>::view(nullptr, masked ? length : 0);
  one.example.known_counted = static_cast<std::int32_t>(one.counted);
}

}  // namespace

TokenLog::Progress TokenLog::progress_of(const fs::path& folder) {
  Progress last;
  if (!fs::exists(folder / kProgress)) return last;
  const std::string lines = core::read_file(core::FileRef::named(folder / kProgress));
  for (std::size_t at = 0; at < lines.size();) {
    const std::size_t end = lines.find('\n', at);
    if (end == lines.npos) break;  // a kill came between
    try {
      const core::Json json = core::parse_json(std::string_view(lines).substr(at, end - at), "progress.jsonl");
      const core::JsonView line(json, "progress.jsonl");
      const auto size = [&](const char* key) { return static_cast<std::uint64_t>(line.at(key).as_int(0)); };
      last = {line.at("items").as_int(0), size("item_bytes"), size("id_bytes"), size("learned_bytes")};
    } catch (const FormatError&) {
      return {};
    }
    at = end + 1;
  }
  return last;
}

TokenLog::TokenLog(fs::path folder) : folder_(std::move(folder)), done_(progress_of(folder_)) {
  const auto open = [&](const char* name, std::uint64_t bytes) {
    return std::make_unique<core::AppendFile>(folder_ / name, bytes);
  };
  items_ = open(kItems, done_.item_bytes);
  ids_ = open(kIds, done_.id_bytes);
  learned_ = open(kLearned, done_.learned_bytes);
  if (items_->was_short() || ids_->was_short() || learned_->was_short()) {
    done_ = {};
    items_ = open(kItems, 0);
    ids_ = open(kIds, 0);
    learned_ = open(kLearned, 0);
  }
  add_first(ids_digest_, folder_ / kIds, done_.id_bytes);
  add_first(learned_digest_, folder_ / kLearned, done_.learned_bytes);
  progress_ = open(kProgress, done_.items == 0 ? 0 : core::AppendFile::kAll);
  kept_ = done_.items;
  documents_ = std::make_unique<RecordFile>(folder_ / kDocuments);
  examples_ = std::make_unique<RecordFile>(folder_ / kExamples);
  if (kept_ > 0) items_before_ = core::MappedFile::open(core::FileRef::named(folder_ / kItems));
}

Encoded TokenLog::next() {
  const std::string_view bytes = text_of(*items_before_);
  const auto number = [&] { return take(bytes, read_, folder_); };
  const auto count = [&] { return static_cast<std::int64_t>(number()); };
  Encoded encoded;
  const std::uint64_t flags = number();
  encoded.blank = (flags & 1) != 0;
  encoded.conversation = (flags & 2) != 0;
  encoded.mask_from = static_cast<MaskFrom>(flags >> 2 & 3);
  encoded.content = number();
  encoded.texts = count();
  encoded.rows = count();
  encoded.all_masked = count();
  encoded.truncated = count();
  encoded.truncated_tokens = count();
  encoded.lone_tokens = count();
  encoded.longest = count();
  encoded.examples.resize(number());
  for (Encoded::One& one : encoded.examples) {
    const std::uint64_t what = number();
    one.ended = (what & 1) != 0;
    one.counted = count();
    one.example.cut = static_cast<std::uint32_t>(count());
    forget(one, what >> 2, (what & 2) != 0);
  }
  if (read_ - released_ >= kCommit) {
    core::release_pages(items_before_->bytes().first(read_));
    released_ = read_;
  }
  if (++given_ == kept_) items_before_ = nullptr;
  return encoded;
}

void TokenLog::append(Encoded& encoded) {
  put(items_pending_, (encoded.blank ? 1u : 0u) | (encoded.conversation ? 2u : 0u) |
                          static_cast<std::uint64_t>(encoded.mask_from) << 2);
  put(items_pending_, encoded.content);
  for (const std::int64_t count : {encoded.texts, encoded.rows, encoded.all_masked, encoded.truncated,
                                   encoded.truncated_tokens, encoded.lone_tokens, encoded.longest}) {
    put(items_pending_, static_cast<std::uint64_t>(count));
  }
  put(items_pending_, encoded.examples.size());
  for (Encoded::One& one : encoded.examples) {
    const Example& example = one.example;
    const bool masked = !all_learned(example);
    put(items_pending_, static_cast<std::uint64_t>(example.ids.size()) << 2 | (masked ? 2u : 0u) | (one.ended ? 1u : 0u));
    put(items_pending_, static_cast<std::uint64_t>(one.counted));
    put(items_pending_, example.cut);
    ids_pending_.append(reinterpret_cast<const char*>(example.ids.data()), example.ids.size() * sizeof(TokenId));
    if (masked) {
      learned_pending_.append(reinterpret_cast<const char*>(example.learned.data()), example.learned.size());
    }
    forget(one, example.ids.size(), masked);
  }
  ++done_.items;
  if (ids_pending_.size() + learned_pending_.size() + items_pending_.size() >= kCommit) commit();
}

void TokenLog::commit() {
  ids_digest_.add(ids_pending_);
  learned_digest_.add(learned_pending_);
  const auto write = [](core::AppendFile& file, std::string& pending) {
    file.write(pending);
    file.sync();
    pending.clear();
  };
  write(*ids_, ids_pending_);
  write(*learned_, learned_pending_);
  write(*items_, items_pending_);
  done_ = {done_.items, items_->bytes(), ids_->bytes(), learned_->bytes()};
  const core::Json line = {{"items", done_.items},
                           {"item_bytes", done_.item_bytes},
                           {"id_bytes", done_.id_bytes},
                           {"learned_bytes", done_.learned_bytes}};
  progress_->write(core::json_text(line) + "\n");
  progress_->sync();
}

template <class Record>
void TokenLog::RecordFile::add(const Record& record) {
  pending_.append(reinterpret_cast<const char*>(&record), sizeof record);
  if (pending_.size() >= (std::size_t{1} << 20)) write();
}

void TokenLog::RecordFile::write() {
  file_.write(pending_);
  digest_.add(pending_);
  pending_.clear();
}

std::string TokenLog::RecordFile::end() {
  write();
  file_.sync();
  file_.close();
  return digest_.hex();
}

void TokenLog::add(const Document& document) {
  const std::shared_ptr<const std::string>& file = document.where.file();
  if (names_.files.empty() || file != last_file_) names_.files.push_back(file == nullptr ? "" : *file);
  last_file_ = file;
  documents_->add(StoredDocument{document.where.number(), static_cast<std::uint32_t>(names_.files.size() - 1),
                                 document.source, static_cast<std::uint32_t>(document.where.unit()),
                                 document.duplicate ? 1u : 0u});
}

void TokenLog::add(Example example) {
  const std::size_t length = example.ids.size();
  const bool masked = !example.learned.empty();
  examples_->add(StoredExample{ids_at_, masked ? learned_at_ : kAllLearned, static_cast<std::uint32_t>(length),
                               example.document, example.cut,
                               static_cast<std::uint32_t>(example.known_counted)});
  names_.longest = std::max(names_.longest, length);
  ids_at_ += length;
  if (masked) learned_at_ += length;
}

void TokenLog::end(Dataset& dataset) {
  if (left() > 0) throw InternalError("TokenLog: not all documents that an earlier try left were asked for");
  commit();
  for (core::AppendFile* file : {items_.get(), ids_.get(), learned_.get(), progress_.get()}) file->close();
  hashes_ = {{kIds, ids_digest_.hex()}, {kLearned, learned_digest_.hex()}, {kDocuments, documents_->end()}, {kExamples, examples_->end()}};
  map_tokens(folder_, names_, dataset);
}

void TokenLog::finish(const Dataset& dataset, const std::vector<std::string>& sources) {
  core::write_file(folder_ / kSummary, core::json_text(summary_of(dataset, names_, sources, folder_, hashes_), 1) + "\n");
  std::error_code ignored;
  for (const char* name : {kItems, kProgress}) fs::remove(folder_ / name, ignored);
}

}  // namespace lowrank::data
