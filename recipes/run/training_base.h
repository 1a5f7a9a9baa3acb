// What a run that trains begins with: the model in the right dtype, its adapter, and what the report says of both.
#pragma once

#include <filesystem>
#include <optional>

#include "lowrank/apps/training/run_report.h"
#include "lowrank/apps/training/training_options.h"
#include "lowrank/models/load.h"

namespace lowrank::apps {

/// --dtype, or where it is auto the choice that the run of `earlier` began with. `full`: the weights are trained.
models::LoadOptions load_options(const Options& options, const core::Json& earlier, bool full);

/// New matrices, or those of the adapter that the run starts from.
lora::Adapter make_adapter(const Options& options, const std::optional<std::filesystem::path>& start,
                           const lora::SlotTable& slots, core::ProgressObserver& progress);

/// hash_files of the files of its weights.
std::string weights_sha256(const models::LoadedModel& model);

/// The verb, its options, and the model with the hash of its weights.
void report_model(RunReport& report, const Options& options, const models::Resolved& resolved,
                  const models::LoadedModel& model, const std::string& sha256);
void report_adapter(RunReport& report, const lora::Adapter& adapter);

/// What must be equal for --resume, beside the options: hashes of the inputs, and the dtype.
core::Json input_facts(const RunReport& report, const models::LoadedModel& model,
                       const std::optional<std::filesystem::path>& start);

}  // namespace lowrank::apps
