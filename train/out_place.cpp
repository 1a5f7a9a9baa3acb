#include "lowrank/train/out_place.h"

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/train/run_folder.h"

namespace lowrank::train {

namespace fs = std::filesystem;

namespace {

/// What a config.json that is a model's says somewhere: other programs have files of that name too.
bool is_model_config(const fs::path& file) {
  std::error_code none;
  if (!fs::is_regular_file(file, none)) return false;
  try {
    const std::string text = core::read_file(file, 1 << 22);
    return text.find("\"model_type\"") != std::string::npos || text.find("\"architectures\"") != std::string::npos;
  } catch (const Error&) {
    return true;  // somebody's, whatever it is
  }
}

/// "a model (config.json)": what the folder and all below it is; empty for any other.
std::string kind_of(const fs::path& folder) {
  std::error_code none;
  if (folder.filename() == ".git") return "a checkout (.git)";
  if (is_model_config(folder / "config.json")) return "a model (config.json)";
  if (fs::exists(folder / "adapter_config.json", none)) return "an adapter (adapter_config.json)";
  for (const char* name : {"dataset_info.json", "dataset_infos.json", "dataset_dict.json"})
    if (fs::exists(folder / name, none)) return std::string("a data set (") + name + ")";
  return "";
}

/// The same of a folder that would itself be written to.
std::string kind_at(const fs::path& folder) {
  std::error_code none;
  if (!fs::is_directory(folder, none) || run_state(folder) != RunState::kEmpty) return "";
  if (std::string kind = kind_of(folder); !kind.empty()) return kind;
  if (fs::exists(folder / ".git", none)) return "the top of a checkout (.git)";
  if (fs::exists(folder / "sweep.json", none)) return "";
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder, none))
    if (entry.is_regular_file(none)) files.push_back(entry.path().filename().string());
  std::sort(files.begin(), files.end());
  for (const std::string& file : files) {
    const std::string end = fs::path(file).extension().string();
    if (end == ".jsonl" || end == ".parquet" || end == ".arrow" || end == ".csv" || end == ".tsv")
      return "a data set (" + file + ")";
    if (end == ".safetensors" || end == ".gguf") return "a model (" + file + ")";
  }
  return "";
}

}  // namespace

fs::path true_path(const fs::path& path) {
  fs::path full = fs::weakly_canonical(fs::absolute(path));
  return full.has_filename() ? full : full.parent_path();  // "dir/" is "dir"
}

bool at_or_inside(const fs::path& path, const fs::path& folder) {
  const auto [end, rest] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return end == folder.end();
}

void check_place(const fs::path& out, const std::vector<fs::path>& inputs, bool overwrite) {
  const fs::path target = true_path(out);
  for (const fs::path& input : inputs) {
    if (at_or_inside(target, true_path(input))) {
      throw ConfigError("`out` " + out.string() + " lies at or inside the input " + input.string() +
                        ": choose another folder");
    }
    if (overwrite && at_or_inside(true_path(input), target)) {
      throw ConfigError("`overwrite` would remove the run in " + out.string() + ", and the input " + input.string() +
                        " is part of that folder: choose another `out`");
    }
  }
  const auto refuse = [&](const std::string& where, const std::string& kind) {
    throw ConfigError("`out` " + out.string() + " " + where + kind +
                      ": choose a new folder beside it, such as runs/art");
  };
  if (const std::string kind = kind_at(target); !kind.empty()) refuse("is ", kind);
  for (fs::path above = target.parent_path(); above.has_relative_path(); above = above.parent_path()) {
    if (const std::string kind = kind_of(above); !kind.empty()) refuse("lies inside " + above.string() + ", ", kind);
  }
}

}  // namespace lowrank::train
