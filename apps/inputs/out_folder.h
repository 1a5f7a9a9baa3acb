// What --out, --resume and --overwrite ask of the place that a verb writes to.
#pragma once

#include <filesystem>

#include "lowrank/apps/console/options.h"

namespace lowrank::apps {

/// ConfigError by --out where the folder holds something, or is none.
void refuse_used_folder(const Options& options, const std::filesystem::path& out);

/// --resume; ConfigError when --overwrite is given with it.
bool resumes(const Options& options);

}  // namespace lowrank::apps
