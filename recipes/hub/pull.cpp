#include "lowrank/recipes/hub/pull.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/plural.h"
#include "lowrank/core/table.h"
#include "lowrank/core/text.h"
#include "lowrank/data/hub/cache.h"
#include "lowrank/data/hub/choice.h"
#include "lowrank/data/hub/download.h"

namespace lowrank::recipes {

namespace hub = data::hub;

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

// The cached snapshot, where nothing may be asked of the hub.
PullResult offline(const hub::Settings& settings, const hub::Repo& repo, core::ProgressObserver& progress) {
  const auto snapshot = hub::find_snapshot(settings.cache, repo);
  if (!snapshot) {
    throw MissingError(fmt::format("{} is not in the cache {}, and HF_HUB_OFFLINE is set, so that it cannot be downloaded; "
                                   "unset it, or copy the cache of a machine that has it",
                                   repo.spelled(), settings.cache.string()));
  }
  progress.note("HF_HUB_OFFLINE is set: what the cache has is taken as it is");
  PullResult result;
  result.path = *snapshot;
  result.model = repo.type == hub::RepoType::kModel;
  result.json = {{"repo", repo.url_name()}, {"revision", repo.revision}, {"commit", snapshot->filename().string()},
                 {"path", snapshot->string()}, {"offline", true}};
  result.lines = core::fields({{"repository", repo.spelled()}, {"path", snapshot->string()}});
  return result;
}

Json json_of(const std::vector<hub::RemoteFile>& files, const hub::RepoCache& cache) {
  Json list = Json::array();
  for (const hub::RemoteFile& file : files) {
    list.push_back({{"path", file.path}, {"size", file.size}, {"cached", cache.has_blob(file.hash)}});
  }
  return list;
}

std::string table_of(const std::vector<hub::RemoteFile>& files, const hub::RepoCache& cache) {
  std::vector<std::vector<std::string>> rows;
  for (const hub::RemoteFile& file : files) {
    rows.push_back({file.path, core::format_bytes(file.size), cache.has_blob(file.hash) ? "in the cache" : ""});
  }
  return core::table({"file", "size", ""}, rows);
}

std::uint64_t bytes_of(const std::vector<hub::RemoteFile>& files) {
  std::uint64_t bytes = 0;
  for (const hub::RemoteFile& file : files) bytes += file.size;
  return bytes;
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
  t.group("System");
  t.add("connections", &s.connections, "N", "Downloads at a time", {.range = {{1, 64}}});
}

PullResult pull(const PullSpec& asked, core::ProgressObserver& progress) {
  PullSpec spec = asked;
  const Fields fields = fields_of(spec);
  fields.check();
  const hub::Repo repo = repo_of(spec, fields);
  hub::Settings settings = hub::settings_from_environment();
  settings.connections = static_cast<int>(spec.connections);
  if (settings.offline) return offline(settings, repo, progress);
  if (!settings.token.empty() && settings.endpoint.starts_with("http://") && !hub::is_loopback(settings.endpoint)) {
    progress.warning(settings.endpoint + " is not encrypted: the token can be read on its way there");
  }

  hub::Client client(settings, &progress);
  const hub::Listing listing = hub::list_repo(client, repo);
  const hub::Choice choice = hub::choose(listing, repo, spec.include, spec.exclude);
  for (const std::string& note : choice.notes) progress.note(note);

  const hub::RepoCache cache(settings.cache, repo);
  PullResult result;
  result.model = repo.type == hub::RepoType::kModel;
  result.adapter = result.model && std::any_of(choice.files.begin(), choice.files.end(), [](const hub::RemoteFile& file) {
                     return file.path == "adapter_config.json";
                   });
  result.path = cache.snapshot(listing.commit);
  result.json = {{"repo", repo.url_name()}, {"revision", repo.revision}, {"commit", listing.commit}};
  const Json files = json_of(choice.files, cache);
  const std::string listed = table_of(choice.files, cache);
  hub::Downloaded got;
  if (!spec.dry_run) {
    cache.prepare();
    got = hub::download(client, cache, repo, listing, choice.files);
    // Last, and all at once: a snapshot that is there is there whole.
    for (const hub::RemoteFile& file : choice.files) cache.link(listing.commit, file.path, file.hash);
    for (const std::string& name : choice.absent) cache.write_no_exist(listing.commit, name);
    cache.write_ref(repo.revision, listing.commit);
    result.json["path"] = result.path.string();
  }
  result.json["files"] = files;
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
