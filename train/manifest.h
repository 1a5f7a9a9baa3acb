// manifest.json: sizes and SHA-256 of the files of a folder, written last: what it lists is complete.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lowrank::train {

/// Lists every file that is in the folder now.
void write_manifest(const std::filesystem::path& folder, std::int64_t step);

/// Re-reads every listed file. Returns what is wrong, in words; empty when all holds. `required`: names that must be
/// listed. The manifest is input like any other: names that lead out of the folder are refused.
std::string manifest_fault(const std::filesystem::path& folder, std::int64_t step,
                           const std::vector<std::string>& required);

}  // namespace lowrank::train
