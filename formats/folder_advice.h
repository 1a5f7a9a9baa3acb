// Folders that hold nearly a model or an adapter: what other programs leave, and what to give or do instead.
#pragma once

#include <filesystem>
#include <string>

namespace lowrank::formats {

/// The end of a sentence that says that a folder holds no model (adapter, weights): what it holds, and what to do, such as
/// "; give its newest checkpoint, DIR/checkpoint-40". Empty where nothing is known of it. Names alone are looked at.
std::string folder_advice(const std::filesystem::path& directory);

}  // namespace lowrank::formats
