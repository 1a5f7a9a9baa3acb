#include <array>
#include <string>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/mapped_pages.h"
#include "lowrank/data/token_format.h"
#include "lowrank/data/token_store.h"

namespace lowrank::data {

namespace fs = std::filesystem;
using core::Json;

namespace {

/// The counts of a report by name, read and written by one list.
template <class Report, class Use>
void for_each_count(Report& report, const Use& use) {
  use("files", report.files);
  use("documents", report.documents);
  use("examples", report.examples);
  use("tokens", report.tokens);
  use("learned_tokens", report.learned_tokens);
  use("truncated", report.truncated);
  use("truncated_tokens", report.truncated_tokens);
  use("empty", report.empty);
  use("duplicates", report.duplicates);
  use("all_masked", report.all_masked);
  use("crlf_files", report.crlf_files);
  use("bom_files", report.bom_files);
  use("replaced_bytes", report.replaced_bytes);
}

Json stored(const fs::path& file) {
  const core::FileStamp stamp = core::stamp_of(core::FileRef::named(file));
  return {{"size", stamp.size},
          {"mtime_ns", stamp.mtime_ns},
          {"inode", stamp.inode},
          {"sha256", core::sha256_file(core::FileRef::named(file))}};
}

[[noreturn]] void damaged(const fs::path& file, const std::string& why) {
  throw DataError(file.string() + " is damaged (" + why + ")");
}

/// What examples lie in.
struct Storage : TokenStorage {
  void release() const override {
    for (const auto& file : {ids, learned}) core::release_pages(file->bytes());
  }

  std::shared_ptr<const core::MappedFile> ids, learned;
  std::vector<std::uint8_t> ones;  // the mask of those that are learned whole
};

std::shared_ptr<const core::MappedFile> map(const fs::path& file) {
  return core::MappedFile::open(core::FileRef::named(file));
}

/// Calls `use` with each record, a stretch of them in memory at a time.
template <class Record, class Use>
void for_each_record(const core::MappedFile& file, const Use& use) {
  constexpr std::size_t kAtOnce = 1 << 16;
  const auto* const records = reinterpret_cast<const Record*>(file.bytes().data());
  const std::size_t count = file.bytes().size() / sizeof(Record);
  for (std::size_t i = 0; i < count; ++i) {
    use(records[i]);
    if (i % kAtOnce == kAtOnce - 1) core::release_pages(file.bytes());
  }
  core::release_pages(file.bytes());
}

template <class Record>
std::size_t count_of(const core::MappedFile& file) {
  if (file.bytes().size() % sizeof(Record) != 0) damaged(file.path(), "it ends within a record");
  return file.bytes().size() / sizeof(Record);
}

void check_file(const fs::path& file, const core::JsonView& was) {
  const core::FileStamp stamp = core::stamp_of(core::FileRef::named(file));
  if (stamp.size != static_cast<std::uint64_t>(was.at("size").as_int(0))) damaged(file, "it has another size");
  const bool untouched = stamp.mtime_ns == was.at("mtime_ns").as_int() && was.at("inode").raw() == Json(stamp.inode);
  if (untouched) return;
  if (core::sha256_file(core::FileRef::named(file)) != was.at("sha256").as_string()) damaged(file, "its hash is another");
}

ReadReport report_of(const core::JsonView& json) {
  ReadReport report;
  report.format = json.at("format").as_string();
  report.sha256 = json.at("sha256").as_string();
  report.chat_template = json.at("chat_template").as_bool();
  report.notes = json.at("notes").as_strings();
  for_each_count(report, [&](const char* name, std::int64_t& count) { count = json.at(name).as_int(0); });
  return report;
}

constexpr std::array<const char*, 4> kStored = {kDocuments, kExamples, kIds, kLearned};

}  // namespace

void map_tokens(const fs::path& folder, const StoredNames& known, Dataset& dataset) {
  const auto documents = map(folder / kDocuments), examples = map(folder / kExamples);
  std::vector<std::shared_ptr<const std::string>> names;
  for (const std::string& name : known.files) names.push_back(std::make_shared<const std::string>(name));
  dataset.documents.clear();
  dataset.documents.reserve(count_of<StoredDocument>(*documents));
  for_each_record<StoredDocument>(*documents, [&](const StoredDocument& one) {
    if (one.file >= names.size() || one.unit > static_cast<std::uint32_t>(Place::Unit::kRow)) {
      damaged(documents->path(), "a document of no file");
    }
    dataset.documents.push_back({Place(names[one.file], static_cast<Place::Unit>(one.unit), one.number),
                                 one.duplicate != 0, one.source});
  });
  auto storage = std::make_shared<Storage>();
  storage->ids = map(folder / kIds);
  storage->learned = map(folder / kLearned);
  storage->ones.assign(known.longest, 1);
  const auto* const ids = reinterpret_cast<const TokenId*>(storage->ids->bytes().data());
  const auto* const learned = reinterpret_cast<const std::uint8_t*>(storage->learned->bytes().data());
  const std::uint64_t tokens = storage->ids->bytes().size() / sizeof(TokenId);
  const std::uint64_t masks = storage->learned->bytes().size();
  dataset.examples.clear();
  dataset.examples.reserve(count_of<StoredExample>(*examples));
  for_each_record<StoredExample>(*examples, [&](const StoredExample& one) {
    const bool whole = one.learned == kAllLearned;
    if (one.document >= dataset.documents.size() || one.ids > tokens || one.length > tokens - one.ids ||
        (whole ? one.length > storage->ones.size() : one.learned > masks || one.length > masks - one.learned)) {
      damaged(examples->path(), "an example outside of the tokens");
    }
    const std::uint8_t* const mask = whole ? storage->ones.data() : learned + one.learned;
    dataset.examples.push_back({Values<TokenId>::view(ids + one.ids, one.length),
                                Values<std::uint8_t>::view(mask, one.length), one.document, one.cut,
                                static_cast<std::int32_t>(one.counted)});
  });
  dataset.storage = std::move(storage);
}

Json summary_of(const Dataset& dataset, const StoredNames& names, const fs::path& folder) {
  const ReadReport& report = dataset.report;
  Json told = {{"format", report.format},
               {"sha256", report.sha256},
               {"chat_template", report.chat_template},
               {"notes", report.notes}};
  for_each_count(report, [&](const char* name, std::int64_t count) { told[name] = count; });
  Json summary = {{"report", told}, {"weights", dataset.weights}, {"names", names.files}, {"longest", names.longest}};
  for (const char* name : kStored) summary["files"][name] = stored(folder / name);
  return summary;
}

std::optional<Dataset> read_tokens(const fs::path& folder) {
  const fs::path file = folder / kSummary;
  if (!fs::exists(file)) return std::nullopt;
  try {
    const Json json = core::read_json(core::FileRef::named(file));
    const core::JsonView summary(json, file.string());
    const core::JsonView files = summary.at("files");
    for (const char* name : kStored) check_file(folder / name, files.at(name));
    Dataset all;
    all.report = report_of(summary.at("report"));
    for (const Json& weight : summary.at("weights").raw()) all.weights.push_back(weight.get<double>());
    map_tokens(folder,
               {summary.at("names").as_strings(),
                static_cast<std::size_t>(summary.at("longest").as_int(0, 1'000'000'000))},
               all);
    return all;
  } catch (const FormatError& error) {
    damaged(file, error.what());
  } catch (const MissingError& error) {
    damaged(file, error.what());
  }
}

}  // namespace lowrank::data
