// What is printed of a training run before and after: the opening lines and the closing table.
#pragma once

#include <filesystem>

#include "lowrank/apps/console/terminal.h"
#include "lowrank/recipes/run/run_report.h"

namespace lowrank::apps {

void print_opening(const Console& console, const recipes::RunReport& report);
void print_closing(const Console& console, const recipes::RunReport& report, const train::TrainResult& result,
                   const std::filesystem::path& out);

}  // namespace lowrank::apps
