// report.html of a training run.
#pragma once

#include <filesystem>
#include <string>

#include "lowrank/recipes/run/run_report.h"

namespace lowrank::recipes {

/// The page of a run that has ended, from its facts and from metrics.jsonl in `out`. Nothing in it depends on the
/// machine's speed: the same run gives the same page.
std::string run_page(const RunReport& report, const train::TrainResult& result, const std::filesystem::path& out);

}  // namespace lowrank::recipes
