// What a path is.
#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/data/hub/cache.h"
#include "lowrank/models/load.h"
#include "lowrank/recipes/inspection/inspect.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;

Inspection inspect_path(const fs::path& path, bool tensors) {
  if (std::error_code ignored; !fs::exists(path, ignored)) {  // by its name on the hub
    const auto here = data::hub::local_path(path, data::hub::RepoType::kModel);
    if (here && *here != path) return inspect_path(*here, tensors);
  }
  const auto holds = [&](const char* name) { return fs::is_regular_file(path / name); };
  if (fs::is_regular_file(path)) {
    if (path.extension() == ".safetensors") return inspect_safetensors(path);
    throw ConfigError(
        fmt::format("{}: inspect takes a model, an adapter, a checkpoint or a .safetensors file; a data set is "
                    "shown by `lowrank inspect MODEL --data {}`",
                    path.string(), path.string()));
  }
  if (fs::is_directory(path)) {
    if (holds("trainer_state.json") || holds("manifest.json")) return inspect_checkpoint(path, tensors);
    if (holds("adapter_config.json")) return inspect_adapter(path, tensors);
    if (holds("run.json") || fs::is_directory(path / "checkpoints")) {
      if (!holds("config.json")) {
        throw ConfigError(
            fmt::format("{} is the folder of an unfinished run; `lowrank runs {}` shows where it stands, and its "
                        "checkpoints can be inspected",
                        path.string(), path.string()));
      }
    }
  }
  return inspect_model(models::resolve(path.string()).model, tensors);
}

}  // namespace lowrank::recipes
