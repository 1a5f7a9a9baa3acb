// What is said of an adapter whose run was on another base.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/models/load.h"

namespace lowrank::recipes {

/// By run.json in the adapter's folder (of a run of lowrank; others have none): a base of another size, or whose files
/// held the values in another type.
std::vector<std::string> base_remarks(const std::filesystem::path& adapter, const models::LoadedModel& model);

}  // namespace lowrank::recipes
