// Several runs of one `finetune`: cross-validation, seeds, a learning curve; mean, spread, and what they say.
#pragma once

#include "lowrank/apps/training/finetune_run.h"
#include "lowrank/data/dataset.h"

namespace lowrank::apps {

/// --preset, --folds, --seeds, --learning-curve, and what their single runs are made of: --fold I/K and --share F.
std::vector<OptionSpec> little_data_options();

/// --fold I/K of the training data. ConfigError for what is no fold, and beside --val-data.
data::Split held_out_fold(const Options& options, const data::Dataset& all);
/// --share in (0, 1].
double training_share(const Options& options);

/// Whether --folds, --seeds or --learning-curve is given. ConfigError for two of them.
bool asks_for_several_runs(const Options& options);
/// Each run in a folder of its own under --out, one after another on one base; finished ones are not run again with
/// --resume. A table, and run.json in --out with all of it. The exit code.
int run_several(const Options& options, const Console& console, SharedBase& base);

struct LearningCurve {
  double last_gain = 0;  // nats that the last doubling of the data lowered the validation loss by
  double next_gain = 0;  // what another doubling would by the trend: last · min(1, last / the one before)
  bool more_helps = false;
};
/// `losses`: validation losses at 1/8, 1/4, 1/2 and all of the data. More data helps where the next doubling would
/// lower perplexity by at least 1 %.
LearningCurve learning_curve(const std::vector<double>& losses);

}  // namespace lowrank::apps
