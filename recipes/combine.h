// Several adapters of one base made one.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/core/progress.h"
#include "lowrank/lora/combine.h"
#include "lowrank/models/load.h"

namespace lowrank::recipes {

/// The adapters in these folders, combined on the model that they are for, as an adapter in the new folder `out`. Gives
/// what merge_report.json says of it. Errors as lora::combine() and lora::load_peft().
core::Json combine_adapters(models::LoadedModel& model, const std::vector<std::string>& adapters,
                            const lora::CombineOptions& options, const std::filesystem::path& out,
                            core::ProgressObserver& progress);

}  // namespace lowrank::recipes
