// The runs under a folder, read from what they left there.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/json.h"

namespace lowrank::recipes {

/// A loss before and after a run.
struct BeforeAfter {
  std::string split;
  std::optional<double> before, after;
};

struct RunSummary {
  std::filesystem::path path;
  std::string verb;   // empty where run.json does not say
  std::string model;  // as the run was given it; empty where run.json does not say
  std::string state;  // "finished", "early stopping", "interrupted at step 12", "begun"
  bool finished = false;
  core::Json options = core::Json::object();
  std::optional<std::int64_t> steps, planned_steps, best_step, trainable, adapter_bytes;
  std::optional<double> best_loss, seconds;
  std::vector<BeforeAfter> sets;  // the validation set first, where there is one
  std::string problem;            // what of the run could not be read
};

/// Every folder at or under `directory` that holds a run (not looking inside runs), by path. MissingError without the
/// folder.
std::vector<RunSummary> list_runs(const std::filesystem::path& directory);

}  // namespace lowrank::recipes
