#include "lowrank/recipes/hub/push.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "lowrank/core/files.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/settings_limits.h"
#include "lowrank/core/table.h"
#include "lowrank/core/text.h"
#include "lowrank/data/data_names.h"
#include "lowrank/data/hub/cache.h"
#include "lowrank/data/hub/choice.h"
#include "lowrank/data/hub/upload.h"

namespace lowrank::recipes {

namespace hub = data::hub;
namespace fs = std::filesystem;

namespace {

using core::Json;

bool is_weights(const std::string& name) {
  return name == "adapter_model.safetensors" || name == "adapters.safetensors" || name.ends_with(".gguf") ||
         name == "model.safetensors.index.json" || (name.starts_with("model") && name.ends_with(".safetensors"));
}

// What describes a run and not its result; some of it names folders of this machine.
bool is_of_a_run(const std::string& name) {
  static const std::set<std::string> kNames = {"run.json", "merge_report.json", "trainer_state.json", "manifest.json",
                                               "choices.json"};
  return kNames.contains(name);
}

bool is_result(const std::string& path) {
  if (path.find('/') != path.npos) return hub::matches(path, {"additional_chat_templates/*.jinja"});
  if (is_of_a_run(path)) return false;
  return is_weights(path) || hub::describes_model(path) || path == "Modelfile";
}

bool is_data(const std::string& path) {
  return data::is_data_name(path) || data::is_packed_name(path) || hub::matches(path, {"LICENSE*", "LICENCE*"});
}

std::vector<std::string> files_of(const fs::path& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const bool hidden = it->path().filename().string().starts_with('.');
    if (hidden && it->is_directory()) it.disable_recursion_pending();
    if (!hidden && it->is_regular_file()) paths.push_back(it->path().lexically_relative(folder).generic_string());
  }
  if (error) throw IoError(fmt::format("cannot list {}: {}", folder.string(), error.message()));
  std::sort(paths.begin(), paths.end());
  return paths;
}

// What the card and the settings say that would be of no use to others.
void look_over(const fs::path& folder, const std::vector<hub::LocalFile>& files, core::ProgressObserver& progress) {
  bool card = false;
  for (const hub::LocalFile& file : files) {
    card = card || file.path == "README.md";
    if (file.path != "adapter_config.json") continue;
    const Json config = core::read_json(file.file, core::kSettings);
    const std::string base = core::JsonView(config, file.path).get_string("base_model_name_or_path", "");
    if (fs::path(base).is_absolute()) {
      progress.warning(fmt::format("adapter_config.json names the base by its place on this machine, {}: others will not "
                                   "find it; write its name on the hub into base_model_name_or_path",
                                   base));
    }
  }
  if (!card) progress.warning(fmt::format("{} has no README.md: the repository will have no card", folder.string()));
}

std::vector<hub::LocalFile> chosen(const PushSpec& spec, const Fields& fields, bool model, core::ProgressObserver& progress) {
  const fs::path folder = spec.folder;
  if (!fs::is_directory(folder)) throw MissingError(fmt::format("{}: there is no such folder to push", folder.string()));
  const std::vector<std::string> all = files_of(folder);
  const auto has = [&](const auto& test) { return std::any_of(all.begin(), all.end(), test); };
  if (model && spec.include.empty()) {
    const bool checkpoint = has([](const std::string& p) {
      return p == "trainer_state.json" || p == "manifest.json" || p.starts_with("optimizer.");
    });
    if (checkpoint) {
      throw ConfigError(fmt::format("{} is a checkpoint, with the state of a run's optimiser; push the folder of the run, "
                                    "or name the files that are wanted with `include`",
                                    folder.string()));
    }
    const bool result = fs::exists(folder / "adapter_config.json") || fs::exists(folder / "config.json") ||
                        has([](const std::string& p) { return p.ends_with(".gguf") && p.find('/') == p.npos; });
    if (!result || !has([](const std::string& p) { return is_weights(p); })) {
      throw ModelError(fmt::format("{} holds neither an adapter nor a model (adapter_config.json or config.json, and "
                                   "weights as .safetensors); `include` names other files",
                                   folder.string()));
    }
  }
  std::vector<hub::LocalFile> files;
  std::set<std::string> left;
  for (const std::string& path : all) {
    const bool wanted = !spec.include.empty() ? hub::matches(path, spec.include) : model ? is_result(path) : is_data(path);
    if (!wanted || hub::matches(path, spec.exclude)) {
      left.insert(path.find('/') == path.npos ? path : path.substr(0, path.find('/') + 1));
      continue;
    }
    hub::check_remote_path(path, folder.string());
    files.push_back({path, core::FileRef::within(folder, folder / path), fs::file_size(folder / path)});
  }
  if (files.empty()) fields.fail("include", "and `exclude` leave no file of " + folder.string());
  if (!left.empty() && spec.include.empty()) {
    std::string names;
    for (const std::string& name : left) names += (names.empty() ? "" : ", ") + name;
    progress.note(fmt::format("left out: {}", core::printable(names, 300)));
  }
  return files;
}

}  // namespace

void describe(Fields& t, PushSpec& s) {
  t.group("What");
  t.add("include", &s.include, "PATTERN...", "Instead of the adapter's or model's files, those that a pattern matches");
  t.add("exclude", &s.exclude, "PATTERN...", "Without those that a pattern matches");
  t.add("message", &s.message, "TEXT", "Of the commit (default: names the adapter or model)");
  t.add("dry-run", &s.dry_run, "", "List the files with their sizes; ask the hub nothing");
  t.group("Repository");
  t.add("create", &s.create, "", "Make it where it is not there");
  t.add("private", &s.make_private, "", "Make it for its owners alone (with create)");
  t.add("repo-type", &s.repo_type, "TYPE", "What the name is, where it does not begin with datasets/ (default: model)",
        {.choices = {"model", "dataset"}});
  t.group("System");
  t.add("connections", &s.connections, "N", "Parts of a large file that are sent at a time", {.range = {{1, 64}}});
}

PushResult push(const PushSpec& asked, core::ProgressObserver& progress) {
  PushSpec spec = asked;
  const Fields fields = fields_of(spec);
  fields.check();
  if (spec.make_private && !spec.create) fields.fail("private", "goes with `create`: what is there stays as it is");
  std::optional<hub::RepoType> type;
  if (spec.repo_type) type = *spec.repo_type == "model" ? hub::RepoType::kModel : hub::RepoType::kDataset;
  const hub::Repo repo = hub::repo_named(spec.repo, type);
  const bool model = repo.type == hub::RepoType::kModel;
  const std::vector<hub::LocalFile> files = chosen(spec, fields, model, progress);
  if (model) look_over(spec.folder, files, progress);

  PushResult result;
  std::uint64_t bytes = 0;
  Json list = Json::array();
  std::vector<std::vector<std::string>> rows;
  for (const hub::LocalFile& file : files) {
    bytes += file.size;
    list.push_back({{"path", file.path}, {"size", file.size}});
    rows.push_back({file.path, core::format_bytes(file.size)});
  }
  result.json = {{"repo", repo.url_name()}, {"revision", repo.revision}, {"files", list}, {"bytes", bytes}, {"dry_run", spec.dry_run}};
  std::vector<std::pair<std::string, std::string>> shown = {
      {"repository", repo.spelled()},
      {"files", fmt::format("{}, {}", core::counted(static_cast<std::int64_t>(files.size()), "file"), core::format_bytes(bytes))}};
  if (spec.dry_run) {
    result.lines = core::table({"file", "size"}, rows) + core::fields(shown);
    return result;
  }

  hub::Settings settings = hub::settings_from_environment();
  settings.connections = static_cast<int>(spec.connections);
  if (settings.offline) throw ConfigError("HF_HUB_OFFLINE is set, and a push asks the hub; unset it");
  if (settings.token.empty()) {
    throw MissingError(fmt::format("a push needs a token with write access, and there is none in HF_TOKEN or {}; make one at "
                                   "{}/settings/tokens",
                                   settings.token_file.string(), settings.endpoint));
  }
  hub::Client client(settings, &progress);
  if (spec.create) hub::create_repo(client, repo, spec.make_private);
  const bool adapter = fs::exists(fs::path(spec.folder) / "adapter_config.json");
  const std::string message =
      spec.message.value_or(fmt::format("Upload {} with lowrank", !model ? "data" : adapter ? "adapter" : "model"));
  const hub::Pushed pushed = hub::upload(client, repo, files, message);
  result.json["commit"] = pushed.commit.empty() ? Json(nullptr) : Json(pushed.commit);
  result.json["url"] = pushed.url.empty() ? settings.endpoint + "/" + repo.url_name() : pushed.url;
  result.json["uploaded_bytes"] = pushed.bytes;
  result.json["unchanged"] = pushed.unchanged;
  shown.emplace_back("uploaded", pushed.commit.empty() ? "nothing: the repository has these files already"
                                                       : fmt::format("{}{}", core::format_bytes(pushed.bytes),
                                                                     pushed.unchanged == 0 ? "" : fmt::format("; {} were there already",
                                                                                                              core::counted(pushed.unchanged, "file"))));
  shown.emplace_back("page", result.json["url"].get<std::string>());
  result.lines = core::fields(shown);
  return result;
}

}  // namespace lowrank::recipes
