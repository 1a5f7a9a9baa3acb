// report.html of a training run.
#pragma once

#include <string>

#include "lowrank/recipes/run/run_report.h"

namespace lowrank::recipes {

/// The page of a run that has ended, from its facts and from `curves`, its metrics.jsonl. Of the hour and the machine's
/// speed it has the end and the duration alone.
std::string run_page(const RunReport& report, const train::TrainResult& result, const Curves& curves);

}  // namespace lowrank::recipes
