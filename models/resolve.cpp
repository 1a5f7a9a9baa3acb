// What MODEL on a command line means.
#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/core/settings_limits.h"
#include "lowrank/core/text.h"
#include "lowrank/data/hub/cache.h"
#include "lowrank/formats/folder_advice.h"
#include "lowrank/models/load.h"

namespace lowrank::models {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfig = "config.json";
constexpr const char* kAdapterConfig = "adapter_config.json";

struct Found {
  fs::path folder;
  bool cached = false;  // in the hub's cache, by its name there
};

// The folder that `model` names, whatever it holds. `beside`: a second place for relative paths, taken when only it has
// a model.
Found find_folder(const std::string& model, const fs::path& beside) {
  if (model.empty()) throw MissingError("the model's name is empty; expected a folder or ORG/NAME");
  std::vector<fs::path> places = {model};
  if (!beside.empty() && fs::path(model).is_relative()) places.push_back(beside / model);
  std::error_code error;
  for (const fs::path& place : places) {
    if (fs::exists(place / kConfig, error)) return {place};
    if (error == std::errc::filename_too_long) {
      throw MissingError(fmt::format("'{}': a name of {} bytes is longer than any path; expected a folder or ORG/NAME",
                                     core::printable(model, 60), model.size()));
    }
  }
  for (const fs::path& place : places) {
    if (fs::is_directory(place)) return {place};
    if (place.extension() == ".gguf" && fs::exists(place)) {
      throw MissingError(
          fmt::format("{} is a GGUF file, which llama.cpp runs; give the model in safetensors that it was made from: "
                      "a folder, or ORG/NAME",
                      place.string()));
    }
    if (fs::exists(place)) {
      throw MissingError(
          fmt::format("{} is a file; expected the folder of a model (with config.json, model.safetensors "
                      "and a tokenizer)",
                      place.string()));
    }
  }
  if (const auto snapshot = data::hub::local_path(model, data::hub::RepoType::kModel)) return {*snapshot, true};
  data::hub::throw_not_here(fmt::format("{}: there is no such folder", model), model, data::hub::RepoType::kModel);
}

std::string without_slash(std::string name) {
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  return name;
}

// A relative path would name another folder as soon as the adapter is used from elsewhere.
std::string base_name_of(const std::string& model, const Found& found) {
  const auto repo = found.cached ? data::hub::parse_repo(model) : std::nullopt;
  return repo ? repo->id : without_slash(fs::absolute(found.folder).lexically_normal().string());
}

}  // namespace

Resolved resolve(const std::string& model) {
  const Found found = find_folder(model, {});
  const fs::path& folder = found.folder;
  // An adapter whose trainer left its base's config.json beside it is an adapter, as transformers has it.
  const bool has_adapter = fs::exists(folder / kAdapterConfig) &&
                           (fs::exists(folder / "adapter_model.safetensors") || fs::exists(folder / "adapter_model.bin"));
  if (fs::exists(folder / kConfig) && !has_adapter)
    return {folder, std::nullopt, without_slash(model), base_name_of(model, found)};
  if (!fs::exists(folder / kAdapterConfig)) {
    throw MissingError(
        fmt::format("{}: has neither config.json (a model) nor adapter_config.json (an adapter){}", folder.string(), formats::folder_advice(folder)));
  }
  const fs::path file = folder / kAdapterConfig;
  const core::Json json = core::read_json(file, core::kSettings);
  const core::JsonView config(json, file.string());
  std::string base = config.get_string("base_model_name_or_path", "");
  if (base.empty() && !config.has_value("peft_type")) base = config.get_string("model", "");  // mlx-lm's
  if (base.empty()) {
    throw ModelError(
        fmt::format("{}: base_model_name_or_path is empty; give the base model and the adapter apart", file.string()));
  }
  Found base_found;
  try {
    base_found = find_folder(base, folder);
  } catch (const MissingError& error) {
    const std::string message = fmt::format(
        "{}: the adapter's base was not found: {}; give the base that is on this machine as MODEL and the adapter as "
        "`adapter` {}, or write its place into base_model_name_or_path",
        file.string(), error.what(), folder.string());
    if (const auto* known = dynamic_cast<const data::hub::NotDownloaded*>(&error)) {
      throw data::hub::NotDownloaded(known->repo, message);
    }
    throw MissingError(message);
  }
  const fs::path& base_folder = base_found.folder;
  if (!fs::exists(base_folder / kConfig)) {
    throw MissingError(
        fmt::format("{}: the adapter's base {} has no config.json{}", file.string(), base_folder.string(), formats::folder_advice(base_folder)));
  }
  return {base_folder, folder, without_slash(base), base_name_of(base, base_found)};
}

}  // namespace lowrank::models
