// Several runs of one fine-tuning spec: cross-validation, seeds, a learning curve; mean, spread, and what they say.
#pragma once

#include <string>
#include <vector>

#include "lowrank/recipes/finetune.h"
#include "lowrank/recipes/search/study_spec.h"

namespace lowrank::recipes {

/// Whether folds, seeds or learning_curve is given. ConfigError for two of them.
bool asks_for_several_runs(const LittleDataSpec& spec);

struct RepeatedResult : RunResult {
  /// `run` is run.json: "runs" (name, losses before and after), "summary" (mean and spread by set), "learning_curve".
  std::string stopped_in;  // kStopped: the run that was stopped; empty: while waiting for other processes
  int reason = 0;          // of kStopped
};

/// Each run in a folder of its own under `out`, one after another on one base; finished ones are not run again with
/// `resume`. run.json in `out` has all of it. With dry_run: the first alone. With `study.storage` other processes may share
/// the runs: this one takes its part, and returns when all have ended.
RepeatedResult finetune_repeatedly(const FinetuneSpec& spec, Observer& observer, const StudySpec& study = {});

struct LearningCurve {
  double last_gain = 0;  // nats that the last doubling of the data lowered the validation loss by
  double next_gain = 0;  // what another doubling would by the trend: last · min(1, last / the one before)
  bool more_helps = false;
};
/// `losses`: validation losses at 1/8, 1/4, 1/2 and all of the data. More data helps where the next doubling would
/// lower perplexity by at least 1 %.
LearningCurve learning_curve(const std::vector<double>& losses);

/// The loss of a set in "before" or "after" of a run's result; nothing where it was not measured.
std::optional<double> loss_of(const core::Json& results, const std::string& split);
/// "3.2000 -> 3.1000 (-9.5 %)": losses, and the change of perplexity.
std::string loss_change(std::optional<double> before, std::optional<double> after);

}  // namespace lowrank::recipes
