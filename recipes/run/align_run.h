// What the `align` verbs begin with: the run's folder, the model with its adapter, and the report of both.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "lowrank/apps/training/run_report.h"
#include "lowrank/apps/training/training_options.h"
#include "lowrank/apps/training/training_run.h"
#include "lowrank/core/files.h"
#include "lowrank/models/load.h"

namespace lowrank::apps {

struct AlignRun {
  std::unique_ptr<core::DirectoryLock> lock;  // of --out; null for a dry run
  models::LoadedModel model;
  std::optional<lora::Adapter> adapter;
  std::optional<std::filesystem::path> start;  // the adapter that the run goes on from
  core::Json earlier;                          // choices of the run that --resume goes on with
  RunReport report;
  core::Json facts;  // what must be equal for --resume, beside the options: hashes and choices
};

/// Puts the adapter onto the model; `base_name` is what its config calls the base.
using AdapterMaker = std::function<lora::Adapter(const models::LoadedModel& model, const std::string& base_name,
                                                 const std::optional<std::filesystem::path>& start)>;

/// --threads, --kernels, --out, MODEL and --adapter. Nothing when --out holds a finished run and --resume is given
/// (said). `make`: instead of an adapter on the decoder alone.
std::optional<AlignRun> open_align_run(const Options& options, const Console& console, core::ProgressObserver& progress,
                                       const AdapterMaker& make = {});

/// Pairs for training and validation, as --data, --val-data and --val-split say.
RunData read_pairs(const Options& options, AlignRun& run, core::ProgressObserver& progress);
/// --data, --seq-len, --val-data, --val-split and --no-shuffle of a verb that learns from pairs.
std::vector<OptionSpec> pair_options();

/// finetune's options for adapters, training, dtype and runs, after these of the verb's own.
std::vector<OptionSpec> align_options(std::vector<OptionSpec> own, const std::string& lr);

}  // namespace lowrank::apps
