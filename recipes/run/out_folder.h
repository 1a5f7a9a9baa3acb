// The place that a recipe writes to, and what must not lie there.
#pragma once

#include <filesystem>
#include <vector>

#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

/// FieldError by `out` where the folder holds something, or is none; ConfigError where check_place() of
/// train/out_place.h refuses it.
void refuse_used_folder(const std::filesystem::path& out);

/// The files and folders that fields name (Identity::kHash), without the weights of a mixture.
std::vector<std::filesystem::path> input_paths(const Fields& fields);

}  // namespace lowrank::recipes
