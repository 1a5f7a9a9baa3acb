#include "lowrank/train/manifest.h"

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"

namespace lowrank::train {
namespace {

namespace fs = std::filesystem;
constexpr const char* kName = "manifest.json";

std::string text_of(const core::Json& manifest) { return core::json_text(manifest, 2) + "\n"; }

bool leads_out(const fs::path& name) {
  return name.empty() || name.is_absolute() ||
         std::any_of(name.begin(), name.end(), [](const fs::path& part) { return part == ".." || part == "."; });
}

std::string file_fault(const fs::path& file, const core::JsonView& entry) {
  if (!fs::is_regular_file(file)) return file.filename().string() + " is missing";
  const auto size = static_cast<std::uint64_t>(entry.at("size").as_int(0));
  if (fs::file_size(file) != size) {
    return file.filename().string() + " has " + std::to_string(fs::file_size(file)) + " bytes instead of " +
           std::to_string(size);
  }
  if (core::sha256_file(file) != entry.at("sha256").as_string()) {
    return file.filename().string() + " is damaged (its SHA-256 is not the manifest's)";
  }
  return "";
}

}  // namespace

void write_manifest(const fs::path& folder, std::int64_t step) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) names.push_back(fs::relative(entry.path(), folder).generic_string());
  }
  std::sort(names.begin(), names.end());
  core::Json files = core::Json::object();
  for (const std::string& name : names) {
    files[name] = {{"size", fs::file_size(folder / name)}, {"sha256", core::sha256_file(folder / name)}};
  }
  core::write_file(folder / kName, text_of({{"step", step}, {"files", files}}));
}

std::string manifest_fault(const fs::path& folder, std::int64_t step, const std::vector<std::string>& required) {
  try {
    if (!fs::exists(folder / kName)) return "it has no manifest.json: it was not completed";
    const std::string text = core::read_file(folder / kName, std::uint64_t{1} << 24);
    const core::Json json = core::parse_json(text, kName);
    // Whatever was changed in the manifest itself: it is no longer the text that we write.
    if (text.compare(text_of(json)) != 0) return "manifest.json is damaged";
    const core::JsonView manifest(json, kName);
    if (manifest.at("step").as_int(0) != step) return "manifest.json is of another step";
    const core::JsonView files = manifest.at("files");
    for (const std::string& name : required) {
      if (!files.has(name)) return "manifest.json does not list " + name;
    }
    for (const std::string& name : files.keys()) {
      if (leads_out(name)) return "manifest.json lists a file outside its folder";
      const std::string fault = file_fault(folder / name, files.at(name));
      if (!fault.empty()) return fault;
    }
    return "";
  } catch (const Error& error) {
    return error.what();
  } catch (const fs::filesystem_error& error) {
    return error.what();
  }
}

}  // namespace lowrank::train
