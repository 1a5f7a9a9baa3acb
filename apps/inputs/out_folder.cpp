#include "lowrank/apps/inputs/out_folder.h"

#include <fmt/format.h>

namespace lowrank::apps {

namespace fs = std::filesystem;

void refuse_used_folder(const Options& options, const fs::path& out) {
  std::error_code ignored;
  if (fs::exists(out, ignored) && !(fs::is_directory(out, ignored) && fs::is_empty(out, ignored))) {
    options.fail("out", fmt::format("{} already exists and is not an empty folder; name a new one", out.string()));
  }
}

bool resumes(const Options& options) {
  const bool resume = options.flag("resume");
  if (resume && options.flag("overwrite")) options.fail("overwrite", "contradicts --resume; give one of them");
  return resume;
}

}  // namespace lowrank::apps
