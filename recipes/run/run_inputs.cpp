#include "lowrank/recipes/run/run_inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"
#include "lowrank/data/image_files.h"
#include "lowrank/data/sources.h"
#include "lowrank/formats/safetensors.h"
#include "lowrank/lora/mlx_adapter.h"
#include "lowrank/recipes/run/shared_base.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;
using core::Json;

namespace {

constexpr const char* kModel = "MODEL";
constexpr const char* kSettings = "MODEL's settings";
constexpr std::array kOptions = {"data", "val-data", "general-data", "add-tokens", "chat-template", "config", "tokenizer", "adapter"};
constexpr std::size_t kNamed = 64;                            // files of an option that run.json lists
constexpr std::uint64_t kHashed = std::uint64_t{256} << 20;  // bytes of an option that are read for their hash

std::vector<fs::path> there(const fs::path& folder, std::initializer_list<const char*> names) {
  std::vector<fs::path> found;
  std::error_code none;
  for (const char* name : names)
    if (fs::is_regular_file(folder / name, none)) found.push_back(folder / name);
  return found;
}

std::vector<fs::path> settings_in(const fs::path& folder) {
  return there(folder, {"config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "merges.txt"});
}

// Of pipes nothing is known, and they are read once.
bool is_stream(const fs::path& path) {
  std::error_code none;
  return path == "-" || (fs::exists(path, none) && !fs::is_directory(path, none) && !fs::is_regular_file(path, none));
}

std::vector<fs::path> data_files(const Fields& fields, const std::string& option, const std::vector<fs::path>& paths) {
  if (paths.empty() || std::any_of(paths.begin(), paths.end(), is_stream)) return {};
  std::vector<fs::path> files;
  if (fields.contains("task") && fields.get("task") == Json("image-classification")) {
    std::error_code none;
    for (const fs::path& path : paths)
      if (fs::is_regular_file(path, none)) files.push_back(path);  // the table of labels
    for (const data::LabelledFile& one : data::find_images(paths, option == "data" ? data::Part::kTrain : data::Part::kValidation).files)
      files.push_back(one.file.path());
    return files;
  }
  const bool rows = option != "general-data" && fields.contains("format") && fields.get("format").is_string();
  const data::Format format = rows ? data::parse_format(fields.get("format").get<std::string>()) : data::Format::kAuto;
  std::vector<std::string> notes;
  data::FileOptions part;
  part.part = option == "data" ? data::Part::kTrain : option == "val-data" ? data::Part::kValidation : data::Part::kTest;
  for (const data::Source& source : data::find_sources(paths, format, notes, part)) files.push_back(source.file.path());
  if (option == "data")
    for (const fs::path& file : data::validation_files(paths, format)) files.push_back(file);
  return files;
}

std::vector<fs::path> listed(const Fields& fields, const std::string& option, const fs::path& model,
                             const std::optional<fs::path>& adapter) {
  if (option == kSettings) return model.empty() ? std::vector<fs::path>() : settings_in(model);
  if (option == kModel) {
    std::vector<fs::path> files;
    if (model.empty()) return files;
    const formats::WeightFiles weights = formats::WeightFiles::open(model);
    for (const auto& file : weights.files()) files.push_back(file->path());
    return files;
  }
  if (option == "adapter") {
    if (!adapter) return {};
    std::vector<fs::path> files = there(*adapter, {"adapter_config.json", "tokenizer.json"});
    files.push_back(lora::adapter_weights(*adapter));
    return files;
  }
  if (!fields.contains(option)) return {};
  const Json value = fields.get(option);
  std::vector<fs::path> paths;
  if (value.is_string()) paths.emplace_back(value.get<std::string>());
  if (value.is_array())
    for (const Json& one : value)
      if (one.is_string()) paths.emplace_back(one.get<std::string>());
  if (option.ends_with("data")) return data_files(fields, option, paths);
  std::vector<fs::path> files;
  std::error_code none;
  for (const fs::path& path : paths) {
    if (fs::is_regular_file(path, none)) files.push_back(path);  // else a name, of a template say
    if (fs::is_directory(path, none))
      for (const fs::path& file : settings_in(path)) files.push_back(file);
  }
  return files;
}

struct Stamps {
  Json files = Json::array();  // the first
  std::vector<fs::path> paths;
  std::uint64_t bytes = 0;
  std::string hash;  // of sizes and times
};

/// Nothing where the files cannot be listed: that is said by whoever reads them.
std::optional<Stamps> stamps_of(const Fields& fields, const std::string& option, const fs::path& model,
                                const std::optional<fs::path>& adapter) {
  try {
    Stamps result;
    result.paths = listed(fields, option, model, adapter);
    if (result.paths.empty()) return std::nullopt;
    std::string lines;
    for (const fs::path& path : result.paths) {
      const core::FileStamp stamp = core::stamp_of(core::FileRef::named(path));
      result.bytes += stamp.size;
      lines += fmt::format("{} {}\n", stamp.size, stamp.mtime_ns);
      if (result.files.size() < kNamed)
        result.files.push_back({{"file", fs::absolute(path).lexically_normal().string()}, {"bytes", stamp.size}, {"modified", stamp.mtime_ns}});
    }
    result.hash = core::sha256(lines);
    return result;
  } catch (const Error&) {
    return std::nullopt;
  }
}

/// The first file by its name that is not as it was; the first one that there is where that does not show.
std::string differing(const Json& before, const Json& now) {
  for (std::size_t i = 0; i < std::min(before.size(), now.size()); ++i)
    if (before[i].value("bytes", Json()) != now[i]["bytes"] || before[i].value("modified", Json()) != now[i]["modified"])
      return now[i]["file"].get<std::string>();
  return now.front()["file"].get<std::string>();
}

}  // namespace

Json inputs_of(const Fields& fields, const fs::path& model, const std::optional<fs::path>& adapter) {
  Json result = Json::object();
  std::vector<std::string> options(kOptions.begin(), kOptions.end());
  options.insert(options.end(), {kModel, kSettings});
  for (const std::string& option : options) {
    const std::optional<Stamps> found = stamps_of(fields, option, model, adapter);
    if (!found) continue;
    Json& one = result[option] = {{"count", found->paths.size()}, {"bytes", found->bytes}, {"stamps", found->hash}, {"files", found->files}};
    if (option != kModel && found->bytes <= kHashed) one["sha256"] = hash_files(found->paths, nullptr);
  }
  return result;
}

std::string changed_input(const Json& run, const std::string& option, const Fields& fields, const fs::path& model,
                          const std::optional<fs::path>& adapter) {
  if (!run.contains("inputs") || !run["inputs"].is_object() || !run["inputs"].contains(option)) return "";
  const Json& before = run["inputs"][option];
  if (!before.is_object() || !before.contains("files") || !before["files"].is_array()) return "";
  const std::optional<Stamps> now = stamps_of(fields, option, model, adapter);
  if (!now || before.value("stamps", Json()) == Json(now->hash)) return "";
  if (before.value("count", Json()) != Json(now->paths.size()))
    return fmt::format("{} files now, where there were {}", now->paths.size(), core::json_text(before.value("count", Json(0))));
  const std::string file = differing(before["files"], now->files);
  if (before.value("bytes", Json()) == Json(now->bytes)) {
    Json hash = before.value("sha256", Json());
    if (option == kModel && run.contains("model") && run["model"].is_object()) hash = run["model"].value("sha256", Json());
    if (hash.is_string() && hash == Json(hash_files(now->paths))) return "";
    if (!hash.is_string()) return fmt::format("{} was written again since", file);  // too much to be read for a word
  }
  return fmt::format("{} has other contents now", file);
}

}  // namespace lowrank::recipes
