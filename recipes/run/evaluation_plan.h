// How much of the validation data is measured on the way, so that evaluation takes its share of the time and no more.
// From sizes alone: no clock takes part, so that a run is the same run wherever it is made and gone on with.
#pragma once

#include <cstdint>

#include "lowrank/recipes/run/run_data.h"
#include "lowrank/recipes/run/training_run.h"

namespace lowrank::recipes {

struct EvaluationSizes {
  std::int64_t sets = 0;         // tokens of all evaluation sets
  std::int64_t training = 0;     // tokens of all steps together
  std::int64_t evaluations = 0;  // on the way, the last step's included
  std::int64_t parameters = 0;   // of the model
  double budget = 0.1;           // evaluation's share of the time of the run
  double cost = 0.5;             // of a token that is measured, against one that is trained on
  bool fewer = true;             // there may be fewer evaluations
  std::int64_t least = 4096;     // tokens that a part has at least
};

struct EvaluationPlan {
  double share = 1;              // of the sets that is measured on the way
  bool whole_at_ends = false;    // the start and the result are measured in whole beside
  std::int64_t evaluations = 0;  // on the way
};

/// Whole where that keeps to the budget, or is over in seconds anyway; else whole at both ends where
/// two such take no more than half of what evaluation may, and a part on the way: never less than `least`, rather
/// fewer evaluations.
EvaluationPlan plan_evaluation(const EvaluationSizes& sizes);

/// After choose_recompute(). Plans by `training` (see EvaluationSizes::cost; `full`: every weight is trained) and takes
/// the parts: `data`'s evaluation sets become them, and its `whole` what they are parts of. A field of `options` says how
/// often. Said in the report.
void fit_evaluation(TrainingRun& run, RunData& data, const TrainSpec& training, std::int64_t parameters, bool full,
                    train::TrainOptions& options);

}  // namespace lowrank::recipes
