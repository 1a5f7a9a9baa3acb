#include "lowrank/recipes/run/out_folder.h"

#include <fmt/format.h>

#include "lowrank/recipes/spec/fields.h"
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

}  // namespace lowrank::recipes
