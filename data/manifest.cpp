#include "lowrank/data/manifest.h"

#include <fnmatch.h>

#include <algorithm>
#include <map>
#include <system_error>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/core/text.h"
#include "lowrank/data/data_names.h"
#include "lowrank/data/folder_parts.h"
#include "lowrank/data/row_map.h"
#include "lowrank/data/yaml_text.h"

namespace lowrank::data {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMostBytes = 16'000'000;
constexpr std::size_t kMostPatterns = 1000;
constexpr std::int64_t kMostNodes = 1'000'000;  // sets of two thousand languages, each with files of its own, have 100,000

/// The file of this name that lists sets: in `path` itself, or beside it where `path` is FOLDER/NAME.
struct SetPlace {
  fs::path file, folder;
  std::string name;  // of the set; empty: of the folder
};
std::optional<SetPlace> place_of(const fs::path& path, const char* file) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    if (fs::is_regular_file(path / file, ignored)) return SetPlace{path / file, path, ""};
    return std::nullopt;
  }
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (fs::exists(path, ignored) || !fs::is_regular_file(folder / file, ignored)) return std::nullopt;
  return SetPlace{folder / file, folder, path.filename().string()};
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < 12; ++i) text += (i == 0 ? "" : ", ") + core::printable(names[i], 60);
  return names.size() <= 12 ? text : text + ", …";
}

/// The set that is meant.
std::string chosen(const SetPlace& place, const std::vector<std::string>& names) {
  if (!place.name.empty()) {
    if (std::find(names.begin(), names.end(), place.name) != names.end()) return place.name;
    throw MissingError(place.file.string() + " lists no set '" + core::printable(place.name, 100) + "'" +
                       core::did_you_mean(place.name, names) + " (it lists " + listed(names) + ")");
  }
  if (names.size() == 1) return names[0];
  throw DataError(place.file.string() + " lists several sets (" + listed(names) + "); name one, as " +
                  (place.folder / names[0]).string() + ", or name files");
}

std::optional<Listed> llama_factory(const fs::path& path) {
  const std::optional<SetPlace> place = place_of(path, "dataset_info.json");
  if (!place) return std::nullopt;
  const core::Json json = core::read_json(place->file, {64, kMostBytes});
  const core::JsonView sets(json, place->file.string());
  if (!sets.is_object()) return std::nullopt;
  std::vector<std::string> names;
  for (const std::string& key : sets.keys()) {
    // Hugging Face's file of the same name describes one set, and lists none.
    if (json[key].is_object() && (json[key].contains("file_name") || json[key].contains("hf_hub_url") ||
                                  json[key].contains("ms_hub_url") || json[key].contains("script_url"))) {
      names.push_back(key);
    }
  }
  if (names.empty()) return std::nullopt;
  const std::string name = chosen(*place, names);
  const core::JsonView set = sets.at(name);
  if (!set.has_value("file_name")) {
    set.fail("the set is no file (\"file_name\"); fetch it first, and name the file");
  }
  for (const char* key : {"num_samples", "images", "videos", "audios"}) {
    if (set.has_value(key)) set.at(key).fail("is not read here; take it out, or name the file itself");
  }
  Listed result;
  result.folder = place->folder;
  result.files = {place->folder / set.at("file_name").as_string()};
  result.map = RowMap::of_llama_factory(set);
  result.note = place->file.string() + ": the set " + core::printable(name, 60) + " is " +
                set.at("file_name").as_string() + ", with the columns that its entry names";
  return result;
}

/// The YAML between two lines of --- at the start of a README.
YAML::Node front_matter(const fs::path& readme) {
  std::string text = core::read_file(readme, kMostBytes);
  std::erase(text, '\r');
  if (!text.starts_with("---\n")) return {};
  const std::size_t end = text.find("\n---", 3);
  if (end == text.npos) return {};
  return parse_yaml(text.substr(4, end - 3), readme.string() + ": its front matter", kMostNodes);
}

std::vector<std::string> strings_of(const YAML::Node& node) {
  std::vector<std::string> result;
  if (node.IsScalar()) result.push_back(node.as<std::string>());
  if (!node.IsSequence()) return result;
  for (const YAML::Node& child : node) {
    if (child.IsScalar()) result.push_back(child.as<std::string>());
  }
  return result;
}

/// "x/{a,b}.jsonl" as "x/a.jsonl" and "x/b.jsonl".
std::vector<std::string> without_braces(const std::string& pattern) {
  const std::size_t close = pattern.find('}');
  const std::size_t open = close == pattern.npos ? pattern.npos : pattern.rfind('{', close);
  if (open == pattern.npos) return {pattern};
  std::vector<std::string> all;
  for (std::size_t at = open + 1; at <= close;) {
    const std::size_t end = std::min(close, pattern.find(',', at));
    const std::vector<std::string> more =
        without_braces(pattern.substr(0, open) + pattern.substr(at, end - at) + pattern.substr(close + 1));
    all.insert(all.end(), more.begin(), more.end());
    if (all.size() > kMostPatterns) throw DataError("'" + core::printable(pattern, 200) + "' stands for too many patterns");
    at = end + 1;
  }
  return all;
}

/// Files beneath `folder` that a pattern of Hugging Face's matches: * within a name, ** over folders, {a,b} either.
std::vector<fs::path> matching(const fs::path& folder, const std::string& pattern) {
  std::vector<fs::path> files;
  const std::vector<std::string> patterns = without_braces(pattern);
  const int flags = pattern.find("**") != pattern.npos ? 0 : FNM_PATHNAME | FNM_PERIOD;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    const std::string name = entry.path().lexically_relative(folder).string();
    const auto fits = [&](const std::string& one) { return ::fnmatch(one.c_str(), name.c_str(), flags) == 0; };
    if (std::any_of(patterns.begin(), patterns.end(), fits)) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// The folder in which a config's files lie: data_dir, or that of the README.
fs::path folder_of(const SetPlace& place, const YAML::Node& config) {
  if (!config["data_dir"]) return place.folder;
  const std::string name = config["data_dir"].as<std::string>();
  const fs::path relative = fs::path(name).lexically_normal();
  const std::string told = place.file.string() + ": data_dir '" + core::printable(name, 200) + "'";
  if (relative.is_absolute() || *relative.begin() == "..") throw DataError(told + " leads out of the folder");
  const fs::path folder = (place.folder / relative).lexically_normal();
  if (!fs::is_directory(folder)) throw MissingError(told + " is no folder here");
  return folder;
}

/// What a folder of rows or texts may hold beside what describes it.
bool is_data(const fs::path& file) {
  return is_data_name(file) && data_ending(file) != ".md";
}

/// Where a config has a folder alone: its files by their names, or the folder where those name no parts.
std::map<Part, std::vector<fs::path>> files_in(const fs::path& folder) {
  std::vector<fs::path> files = matching(folder, "**");
  std::erase_if(files, [&](const fs::path& file) {
    const std::string name = file.lexically_relative(folder).string();
    return !is_data(file) || name.starts_with(".") || name.find("/.") != name.npos;
  });
  std::map<Part, std::vector<fs::path>> parts = folder_parts(folder, files);
  if (parts.empty()) parts[Part::kTrain] = {folder};
  return parts;
}

/// data_files: a pattern, a list of them, or a list of {split, path}; by part.
std::map<Part, std::vector<fs::path>> files_of(const SetPlace& place, const YAML::Node& config) {
  const fs::path folder = folder_of(place, config);
  std::map<Part, std::vector<fs::path>> parts;
  const auto add = [&](Part part, const std::vector<std::string>& patterns) {
    for (const std::string& pattern : patterns) {
      const std::vector<fs::path> found = matching(folder, pattern);
      if (found.empty()) {
        throw MissingError(place.file.string() + ": no file matches '" + core::printable(pattern, 200) +
                           "', which its configs name");
      }
      parts[part].insert(parts[part].end(), found.begin(), found.end());
    }
  };
  const YAML::Node data_files = config["data_files"];
  if (!data_files) return files_in(folder);
  add(Part::kTrain, strings_of(data_files));
  if (data_files.IsSequence()) {
    for (const YAML::Node& file : data_files) {
      if (!file.IsMap() || !file["path"]) continue;
      const std::string split = file["split"] ? file["split"].as<std::string>() : "train";
      add(part_of_name(split).value_or(Part::kTrain), strings_of(file["path"]));
    }
  }
  return parts;
}

std::optional<Listed> hugging_face(const fs::path& path, Part part) {
  const std::optional<SetPlace> place = place_of(path, "README.md");
  if (!place) return std::nullopt;
  const YAML::Node front = front_matter(place->file);
  if (!front || !front.IsMap() || !front["configs"] || !front["configs"].IsSequence()) return std::nullopt;
  std::map<std::string, YAML::Node> configs;
  std::vector<std::string> names;
  std::string usual;
  for (const YAML::Node& config : front["configs"]) {
    if (!config.IsMap() || (!config["data_files"] && !config["data_dir"])) continue;
    names.push_back(config["config_name"] ? config["config_name"].as<std::string>() : "default");
    configs[names.back()] = config;
    if (names.back() == "default" || (config["default"] && config["default"].as<bool>(false))) usual = names.back();
  }
  if (names.empty()) return std::nullopt;
  const std::string name = place->name.empty() && !usual.empty() ? usual : chosen(*place, names);
  const std::map<Part, std::vector<fs::path>> parts = files_of(*place, configs[name]);
  if (part == Part::kTest && !parts.contains(part)) part = Part::kValidation;
  if (part != Part::kValidation && !parts.contains(part) && parts.size() == 1) part = parts.begin()->first;
  Listed result;
  result.in_parts = true;
  const std::string set = place->file.string() + ": the set " + core::printable(name, 60);
  result.note = set + " has no such part among its files; name files";
  if (!parts.contains(part)) return result;
  result.folder = place->folder;
  result.files = parts.at(part);
  result.note = set + "; " + parts_note(place->folder, parts, part, 0);
  return result;
}

}  // namespace

std::optional<Listed> listed_data(const fs::path& path, Part part) {
  try {
    if (std::optional<Listed> found = llama_factory(path)) return found;
    return hugging_face(path, part);
  } catch (const FormatError& e) {
    throw DataError(e.what());
  } catch (const YAML::Exception& e) {
    throw DataError(path.string() + ": the configs of its README are not as Hugging Face has them (" +
                    core::printable(e.what(), 200) + ")");
  }
}

}  // namespace lowrank::data
