// The place that a recipe writes to, where it must be a new one.
#pragma once

#include <filesystem>

namespace lowrank::recipes {

/// FieldError by `out` where the folder holds something, or is none; ConfigError where check_place() of
/// train/out_place.h refuses it.
void refuse_used_folder(const std::filesystem::path& out);

}  // namespace lowrank::recipes
