// What a model's generation_config.json asks for beside its end tokens: drawing, penalties, words that must not come.
#pragma once

#include <filesystem>

#include "lowrank/apps/console/options.h"
#include "lowrank/apps/console/terminal.h"

namespace lowrank::apps {

/// Says once which of these settings change answers there and are not used here, and which options would do the same. Those that the
/// options decide already are none of them. FormatError for a file that cannot be right.
void say_unused_settings(const Options& options, const Console& console, const std::filesystem::path& model);

}  // namespace lowrank::apps
