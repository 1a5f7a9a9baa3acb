#include "lowrank/recipes/run/out_folder.h"

#include <fmt/format.h>

#include "lowrank/data/mixture.h"
#include "lowrank/train/out_place.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;

void refuse_used_folder(const fs::path& out) {
  std::error_code ignored;
  if (fs::exists(out, ignored) && !(fs::is_directory(out, ignored) && fs::is_empty(out, ignored))) {
    throw FieldError("out", fmt::format("{} already exists and is not an empty folder; name a new one", out.string()));
  }
  train::check_place(out, {});
}

std::vector<fs::path> input_paths(const Fields& fields) {
  std::vector<fs::path> paths;
  for (const FieldInfo& field : fields.info()) {
    if (field.identity != Identity::kHash) continue;
    const core::Json value = fields.get(field.name);
    for (const core::Json& path : value.is_array() ? value : core::Json::array({value}))
      if (path.is_string()) paths.push_back(data::weighted_path(path.get<std::string>()).path);
  }
  return paths;
}

}  // namespace lowrank::recipes
