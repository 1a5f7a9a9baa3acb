// README.md of an adapter folder.
#pragma once

#include <string>

#include "lowrank/recipes/run/run_report.h"

namespace lowrank::recipes {

/// As PEFT lays out its model cards.
std::string model_card(const RunReport& report, const train::TrainResult& result);

}  // namespace lowrank::recipes
