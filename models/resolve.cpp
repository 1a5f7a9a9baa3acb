// What MODEL on a command line means.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/models/load.h"

namespace lowrank::models {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfig = "config.json";
constexpr const char* kAdapterConfig = "adapter_config.json";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

fs::path hub_cache() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string value = environment(name); !value.empty()) return value;
  }
  if (const std::string home = environment("HF_HOME"); !home.empty()) return fs::path(home) / "hub";
  const std::string cache = environment("XDG_CACHE_HOME");
  const fs::path base = cache.empty() ? fs::path(environment("HOME")) / ".cache" : fs::path(cache);
  return base / "huggingface" / "hub";
}

bool plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || std::strchr("._-", c);
  });
}

// NAME or ORG/NAME as the hub's cache spells the folder, or empty when it cannot be a name on the hub.
std::string cache_folder(const std::string& model) {
  const std::size_t slash = model.find('/');
  if (slash == std::string::npos) return plain_name(model) ? "models--" + model : "";
  const std::string org = model.substr(0, slash), name = model.substr(slash + 1);
  return plain_name(org) && plain_name(name) ? "models--" + org + "--" + name : "";
}

// The snapshot of refs/main; without that file, the only one there is.
std::optional<fs::path> find_snapshot(const fs::path& folder) {
  const fs::path snapshots = folder / "snapshots";
  if (fs::is_regular_file(folder / "refs" / "main")) {
    std::string revision = core::read_file(folder / "refs" / "main", 4096);
    while (!revision.empty() && std::isspace(static_cast<unsigned char>(revision.back()))) revision.pop_back();
    if (plain_name(revision) && fs::is_directory(snapshots / revision)) return snapshots / revision;
    return std::nullopt;
  }
  std::error_code error;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(snapshots, error)) {
    if (entry.is_directory()) found.push_back(entry.path());
  }
  return found.size() == 1 ? std::optional(found.front()) : std::nullopt;
}

// The folder that `model` names, whatever it holds. `beside`: a second place for relative paths, taken when only it has
// a model.
fs::path find_folder(const std::string& model, const fs::path& beside) {
  if (model.empty()) throw MissingError("the model's name is empty; expected a folder or ORG/NAME");
  std::vector<fs::path> places = {model};
  if (!beside.empty() && fs::path(model).is_relative()) places.push_back(beside / model);
  for (const fs::path& place : places) {
    if (fs::exists(place / kConfig)) return place;
  }
  for (const fs::path& place : places) {
    if (fs::is_directory(place)) return place;
    if (fs::exists(place)) {
      throw MissingError(
          fmt::format("{} is a file; expected the folder of a model (with config.json, model.safetensors "
                      "and a tokenizer)",
                      place.string()));
    }
  }
  const std::string name = cache_folder(model);
  if (name.empty()) throw MissingError(fmt::format("{}: there is no such folder", model));
  const fs::path cached = hub_cache() / name;
  if (const auto snapshot = find_snapshot(cached)) return *snapshot;
  throw MissingError(
      fmt::format("{}: there is no such folder, and the Hugging Face cache has no snapshot of it (looked in {})", model,
                  cached.string()));
}

std::string without_slash(std::string name) {
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  return name;
}

}  // namespace

Resolved resolve(const std::string& model) {
  const fs::path folder = find_folder(model, {});
  if (fs::exists(folder / kConfig)) return {folder, std::nullopt, without_slash(model)};
  if (!fs::exists(folder / kAdapterConfig)) {
    throw MissingError(
        fmt::format("{}: has neither config.json (a model) nor adapter_config.json (an adapter)", folder.string()));
  }
  const fs::path file = folder / kAdapterConfig;
  const core::Json json = core::read_json(file);
  const std::string base = core::JsonView(json, file.string()).get_string("base_model_name_or_path", "");
  if (base.empty()) {
    throw ModelError(
        fmt::format("{}: base_model_name_or_path is empty; give the base model and the adapter apart", file.string()));
  }
  fs::path base_folder;
  try {
    base_folder = find_folder(base, folder);
  } catch (const MissingError& error) {
    throw MissingError(fmt::format("{}: the adapter's base was not found: {}", file.string(), error.what()));
  }
  if (!fs::exists(base_folder / kConfig)) {
    throw MissingError(
        fmt::format("{}: the adapter's base {} has no config.json", file.string(), base_folder.string()));
  }
  return {base_folder, folder, without_slash(base)};
}

}  // namespace lowrank::models
