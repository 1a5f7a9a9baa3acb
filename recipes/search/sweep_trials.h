// trials.jsonl of a sweep: the trials that ended, one a line.
#pragma once

#include <filesystem>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/train/sampler.h"

namespace lowrank::recipes {

core::Json to_json(const train::Assignment& options);
/// {"trial", "options", "value", "state", "steps", "rungs"}, and the "reason" of one that failed.
core::Json to_json(const train::Trial& trial);
train::Assignment options_from(const core::JsonView& json);
/// FormatError for what is not a trial.
train::Trial trial_from(const core::JsonView& json);

/// The trials of the file, in order; none without a file. FormatError with the line for what is not a trial.
std::vector<train::Trial> read_trials(const std::filesystem::path& file);
/// Rewrites the file with all of them: whole or not at all.
void write_trials(const std::filesystem::path& file, const std::vector<train::Trial>& trials);

}  // namespace lowrank::recipes
