// What `finetune` and `pretrain` do once their model, data and plan stand: choices, identity, loop, reports.
#pragma once

#include <functional>
#include <optional>

#include "lowrank/apps/training/run_report.h"
#include "lowrank/apps/training/training_options.h"
#include "lowrank/core/files.h"
#include "lowrank/train/causal_lm.h"

namespace lowrank::apps {

class DataCache;

/// --threads and --kernels.
void set_threads_and_kernels(const Options& options);

/// The folder of a run, opened.
struct RunFolder {
  bool finished = false;                      // --resume found a run that had ended, and said so: nothing is to be done
  std::unique_ptr<core::DirectoryLock> lock;  // none with --dry-run
};
/// --out, locked, for a new run or --resume. `inputs`: what must not lie in it.
RunFolder open_run(const Options& options, const Console& console, const std::vector<std::filesystem::path>& inputs);

/// Train, validation and general data of a run, as the options say.
struct RunData {
  data::Dataset train;
  std::vector<std::pair<std::string, data::Dataset>> evaluation;
  data::Dataset choosing;  // with --max-forgetting: the half of the general data that the scale is chosen on
};
/// `cache`: of the process that does several runs.
RunData read_run_data(const Options& options, const data::Tokenizer& tokenizer, std::int64_t max_positions,
                      RunReport& report, core::ProgressObserver& progress, DataCache* cache = nullptr);

/// The choices that the unfinished run in --out made ("dtype", "recompute"), for its --resume; an empty object
/// otherwise.
core::Json earlier_choices(const Options& options);

/// --recompute auto: layer where the activations of the largest micro-batch would not fit into memory. Sets
/// `report.recompute`.
bool choose_recompute(const Options& options, const core::Json& earlier, const models::DecoderConfig& config,
                      const data::Plan& plan, const data::Dataset& train, at::ScalarType dtype, RunReport& report);
/// The same for a plan over things of these lengths in tokens.
bool choose_recompute(const Options& options, const core::Json& earlier, const models::DecoderConfig& config,
                      const data::Plan& plan, const std::vector<std::int64_t>& lengths, at::ScalarType dtype,
                      RunReport& report);

/// SHA-256 over the files' own SHA-256, in order.
std::string hash_files(const std::vector<std::filesystem::path>& files);

/// How a run ended: its exit code, and its result unless it was a dry run, or found finished.
struct RunOutcome {
  int exit_code = 0;
  std::optional<train::TrainResult> result;
};

/// What is done with a run that was trained to its end, before it is reported.
using Afterwards = std::function<void(RunReport&, train::TrainResult&)>;

/// Opening lines, the loop, closing lines, run.json, model card. `observer`: instead of the view on the console.
RunOutcome train_and_report(const Options& options, const Console& console, train::Objective& objective,
                            RunReport& report, const train::TrainOptions& training, const core::Json& facts,
                            train::TrainObserver* observer = nullptr, const Afterwards& afterwards = {});

}  // namespace lowrank::apps
