#include <algorithm>
#include <array>
#include <string>
#include <unordered_map>
#include <utility>

#include "lowrank/core/error.h"
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

Json stored(const fs::path& file, const std::string& sha256) {
  const core::FileStamp stamp = core::stamp_of(core::FileRef::named(file));
  return {{"size", stamp.size},
          {"mtime_ns", stamp.mtime_ns},
          {"inode", stamp.inode},
          {"sha256", sha256}};
}

[[noreturn]] void damaged(const fs::path& file, const std::string& why) {
  throw DataError(file.string() + " is damaged (" + why + ")");
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

/// What was called `before` is called `now`: places and notes say so.
void rename(const std::vector<std::string>& before, const std::vector<std::string>& now, StoredNames& names, ReadReport& report) {
  std::unordered_map<std::string, std::string> renamed;
  for (std::size_t i = 0; i < std::min(before.size(), now.size()); ++i) {
    if (before[i] != now[i]) renamed.emplace(before[i], now[i]);
  }
  if (renamed.empty()) return;
  for (std::string& name : names.files) {
    if (const auto found = renamed.find(name); found != renamed.end()) name = found->second;
  }
  for (std::string& note : report.notes) {  // of a file: its name comes first
    for (const auto& [was, is] : renamed) {
      if (!note.starts_with(was + " ")) continue;
      note.replace(0, was.size(), is);
      break;
    }
  }
}

constexpr std::array<const char*, 4> kStored = {kDocuments, kExamples, kIds, kLearned};

}  // namespace

void map_tokens(const fs::path& folder, const StoredNames& known, Dataset& dataset) {
  const auto storage = std::make_shared<const TokenStorage>(folder, known);
  dataset.documents = Documents(storage);
  dataset.examples = Examples(storage);
  dataset.storage = storage;
}

Json summary_of(const Dataset& dataset, const StoredNames& names, const std::vector<std::string>& sources, const fs::path& folder,
                const StoredHashes& hashes) {
  const ReadReport& report = dataset.report;
  Json told = {{"format", report.format},
               {"sha256", report.sha256},
               {"chat_template", report.chat_template},
               {"notes", report.notes}};
  for_each_count(report, [&](const char* name, std::int64_t count) { told[name] = count; });
  Json summary = {{"report", told}, {"weights", dataset.weights}, {"names", names.files}, {"sources", sources}, {"longest", names.longest}};
  for (const char* name : kStored) summary["files"][name] = stored(folder / name, hashes.at(name));
  return summary;
}

std::optional<Dataset> read_tokens(const fs::path& folder, const std::vector<std::string>& sources) {
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
    StoredNames names{summary.at("names").as_strings(), static_cast<std::size_t>(summary.at("longest").as_int(0, 1'000'000'000))};
    rename(summary.at("sources").as_strings(), sources, names, all.report);
    map_tokens(folder, names, all);
    return all;
  } catch (const FormatError& error) {
    damaged(file, error.what());
  } catch (const MissingError& error) {
    damaged(file, error.what());
  }
}

}  // namespace lowrank::data
