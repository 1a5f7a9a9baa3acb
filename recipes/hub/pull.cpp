#include "lowrank/recipes/hub/pull.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/plural.h"
#include "lowrank/core/table.h"
#include "lowrank/core/text.h"
#include "lowrank/data/hub/cache.h"
#include "lowrank/data/hub/choice.h"
#include "lowrank/data/hub/download.h"
#include "lowrank/data/hub/local_folder.h"

namespace lowrank::recipes {

namespace hub = data::hub;
namespace fs = std::filesystem;

namespace {

using core::Json;

hub::Repo repo_of(const PullSpec& spec, const Fields& fields) {
  std::optional<hub::RepoType> type;
  if (spec.repo_type) type = *spec.repo_type == "model" ? hub::RepoType::kModel : hub::RepoType::kDataset;
  hub::Repo repo = hub::repo_named(spec.repo, type);
  if (!spec.revision) return repo;
  if (!hub::is_revision(*spec.revision)) fields.fail("revision", "expected a branch, a tag or a commit");
  if (repo.revision != "main" && repo.revision != *spec.revision) {
    fields.fail("revision", "another one stands in the name, " + repo.spelled() + "; give one of them");
  }
  repo.revision = *spec.revision;
  return repo;
}

// What is here, where nothing may be asked of the hub.
PullResult offline(const hub::Settings& settings, const hub::Repo& repo, const PullSpec& spec, core::ProgressObserver& progress) {
  const auto here = spec.local_dir ? hub::LocalFolder::is_one(*spec.local_dir) ? std::optional(fs::path(*spec.local_dir)) : std::nullopt
                                   : hub::find_snapshot(settings.cache, repo);
  if (!here) {
    throw MissingError(fmt::format("{} is not in {}, and HF_HUB_OFFLINE is set, so that it cannot be downloaded; "
                                   "unset it, or copy {} of a machine that has it",
                                   repo.spelled(), spec.local_dir ? *spec.local_dir : "the cache " + settings.cache.string(),
                                   spec.local_dir ? "the folder" : "the cache"));
  }
  progress.note(fmt::format("HF_HUB_OFFLINE is set: what {} has is taken as it is", spec.local_dir ? *spec.local_dir : "the cache"));
  PullResult result;
  result.path = *here;
  result.model = repo.type == hub::RepoType::kModel;
  result.json = {{"repo", repo.url_name()}, {"revision", repo.revision}, {"path", here->string()}, {"offline", true}};
  if (!spec.local_dir) result.json["commit"] = here->filename().string();
  result.lines = core::fields({{"repository", repo.spelled()}, {"path", here->string()}});
  return result;
}

Json json_of(const std::vector<hub::RemoteFile>& files, const std::vector<bool>& here) {
  Json list = Json::array();
  for (std::size_t i = 0; i < files.size(); ++i) {
    list.push_back({{"path", files[i].path}, {"size", files[i].size}, {"cached", static_cast<bool>(here[i])}});
  }
  return list;
}

std::string table_of(const std::vector<hub::RemoteFile>& files, const std::vector<bool>& here) {
  std::vector<std::vector<std::string>> rows;
  for (std::size_t i = 0; i < files.size(); ++i) {
    rows.push_back({files[i].path, core::format_bytes(files[i].size), here[i] ? "is here" : ""});
  }
  return core::table({"file", "size", ""}, rows);
}

std::uint64_t bytes_of(const std::vector<hub::RemoteFile>& files) {
  std::uint64_t bytes = 0;
  for (const hub::RemoteFile& file : files) bytes += file.size;
  return bytes;
}

hub::Downloaded into_cache(hub::Client& client, const hub::RepoCache& cache, const hub::Repo& repo, const hub::Listing& listing,
                           const hub::Choice& choice) {
  cache.prepare();
  const hub::Downloaded got = hub::download(client, cache, repo, listing, choice.files);
  // Last, and all at once: a snapshot that is there is there whole.
  for (const hub::RemoteFile& file : choice.files) cache.link(listing.commit, file);
  for (const std::string& name : choice.absent) cache.write_no_exist(listing.commit, name);
  cache.write_ref(repo.revision, listing.commit);
  return got;
}

// What the cache has is copied; files of the user's own stay, unless `overwrite` is given.
hub::Downloaded into_folder(hub::Client& client, const hub::LocalFolder& folder, const hub::RepoCache& cache, const hub::Repo& repo,
                            const hub::Listing& listing, const std::vector<hub::RemoteFile>& files, const Fields& fields, bool overwrite) {
  using State = hub::LocalFolder::State;
  std::vector<State> states;
  for (const hub::RemoteFile& file : files) {
    states.push_back(folder.state(file));
    if (states.back() != State::kOther || overwrite) continue;
    fields.fail("local-dir", fmt::format("{} is there, and is neither the hub's file nor as an earlier pull left it; move it away, or "
                                         "add `overwrite` to replace it",
                                         folder.place(file).string()));
  }
  folder.prepare();
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (states[i] == State::kCurrent) {
      folder.note(files[i]);
    } else {
      folder.take_from(cache, files[i]);
    }
  }
  return hub::download(client, folder, repo, listing, files);
}

}  // namespace

void describe(Fields& t, PullSpec& s) {
  t.group("What");
  t.add("repo-type", &s.repo_type, "TYPE", "What the name is, where it does not begin with datasets/ (default: model)",
        {.choices = {"model", "dataset"}});
  t.add("revision", &s.revision, "REV", "A branch, a tag or a commit (default: main; ORG/NAME@REV says the same)");
  t.add("include", &s.include, "PATTERN...", "Instead of the files that are read here, those that a pattern matches: '*.bin', 'onnx/'");
  t.add("exclude", &s.exclude, "PATTERN...", "Without those that a pattern matches");
  t.add("dry-run", &s.dry_run, "", "List the files with their sizes; download nothing");
  t.group("Where");
  t.add("local-dir", &s.local_dir, "DIR", "Instead of the cache: a folder that has the files by their names");
  t.add("overwrite", &s.overwrite, "", "Replace files of `local-dir` that are neither the hub's nor an earlier pull's");
  t.group("System");
  t.add("connections", &s.connections, "N", "Downloads at a time", {.range = {{1, 64}}});
}

PullResult pull(const PullSpec& asked, core::ProgressObserver& progress) {
  PullSpec spec = asked;
  const Fields fields = fields_of(spec);
  fields.check();
  if (spec.overwrite && !spec.local_dir) fields.fail("overwrite", "goes with `local-dir`: the cache holds nobody's own files");
  if (spec.local_dir && spec.local_dir->empty()) fields.fail("local-dir", "expected a folder");
  const hub::Repo repo = repo_of(spec, fields);
  hub::Settings settings = hub::settings_from_environment();
  settings.connections = static_cast<int>(spec.connections);
  if (settings.offline) return offline(settings, repo, spec, progress);
  hub::Client client(settings, &progress);
  const hub::Listing listing = hub::list_repo(client, repo);
  const hub::Choice choice = hub::choose(listing, repo, spec.include, spec.exclude);
  for (const std::string& note : choice.notes) progress.note(note);

  const hub::RepoCache cache(settings.cache, repo);
  std::optional<hub::LocalFolder> folder;
  if (spec.local_dir) folder.emplace(*spec.local_dir, listing);
  PullResult result;
  result.model = repo.type == hub::RepoType::kModel;
  result.adapter = result.model && std::any_of(choice.files.begin(), choice.files.end(), [](const hub::RemoteFile& file) {
                     return file.path == "adapter_config.json";
                   });
  result.path = folder ? folder->folder() : cache.snapshot(listing.commit);
  result.json = {{"repo", repo.url_name()}, {"revision", repo.revision}, {"commit", listing.commit}};
  std::vector<bool> here;
  for (const hub::RemoteFile& file : choice.files) here.push_back(cache.has(file) || (folder && folder->has(file)));
  const std::string listed = table_of(choice.files, here);
  hub::Downloaded got;
  if (!spec.dry_run) {
    got = folder ? into_folder(client, *folder, cache, repo, listing, choice.files, fields, spec.overwrite)
                 : into_cache(client, cache, repo, listing, choice);
    result.json["path"] = result.path.string();
  }
  result.json["files"] = json_of(choice.files, here);
  result.json["bytes"] = bytes_of(choice.files);
  result.json["dry_run"] = spec.dry_run;
  std::vector<std::pair<std::string, std::string>> rows = {
      {"repository", fmt::format("{} at {}", repo.spelled(), listing.commit.substr(0, 12))},
      {"files", fmt::format("{}, {}", core::counted(static_cast<std::int64_t>(choice.files.size()), "file"),
                            core::format_bytes(bytes_of(choice.files)))}};
  if (!spec.dry_run) {
    result.json["downloaded_bytes"] = got.bytes;
    result.json["resumed_bytes"] = got.resumed;
    rows.emplace_back("downloaded", fmt::format("{} in {}{}", core::format_bytes(got.bytes), core::counted(got.files, "file"),
                                                got.resumed == 0 ? "" : fmt::format(", {} were here from before",
                                                                                    core::format_bytes(got.resumed))));
    rows.emplace_back("path", result.path.string());
  }
  result.lines = (spec.dry_run ? listed : "") + core::fields(rows);
  return result;
}

}  // namespace lowrank::recipes
