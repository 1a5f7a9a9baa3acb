// What the `align` verbs begin with: the run's folder, the model with its adapter, and the report of both.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "lowrank/apps/run_report.h"
#include "lowrank/apps/training_options.h"
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

/// --threads, --kernels, --out, MODEL and --adapter. Nothing when --out holds a finished run and --resume is given (said).
std::optional<AlignRun> open_align_run(const Options& options, const Console& console, core::ProgressObserver& progress);

/// finetune's options for adapters, training, dtype and runs, after these of the verb's own.
std::vector<OptionSpec> align_options(std::vector<OptionSpec> own, const std::string& lr);

}  // namespace lowrank::apps
