// The folder that a verb makes whole: new, or there and empty.
#pragma once

#include <filesystem>

#include "lowrank/apps/console/options.h"

namespace lowrank::apps {

/// ConfigError by --out where the folder holds something, or is none.
void refuse_used_folder(const Options& options, const std::filesystem::path& out);

}  // namespace lowrank::apps
