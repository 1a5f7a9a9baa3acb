// The sets of a run, as its spec says: training, validation, general.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lowrank/data/dataset.h"
#include "lowrank/recipes/run/data_cache.h"
#include "lowrank/recipes/run/training_run.h"

namespace lowrank::recipes {

struct RunData {
  data::Dataset train;
  std::vector<std::pair<std::string, data::Dataset>> evaluation;
  std::vector<std::pair<std::string, data::Dataset>> whole;  // what `evaluation` are parts of (fit_evaluation)
  data::Dataset choosing;  // with max_forgetting: the half of the general data that the scale is chosen on
};

/// Text or rows, into the report and the facts. `little` and `halves` (max_forgetting): of recipes that have them.
/// `cache`: of the process that does several runs.
RunData read_run_data(TrainingRun& run, const DataSpec& spec, const TrainSpec& training, const LittleDataSpec& little,
                      bool halves, const data::Tokenizer& tokenizer, std::int64_t max_positions,
                      DataCache* cache = nullptr);

/// Pairs of answers, for training and validation.
/// `judged`: as load_preferences has it.
RunData read_pairs(TrainingRun& run, const DataSpec& spec, const TrainSpec& training, const models::LoadedModel& model,
                   bool judged = false);

/// Fold I/K of the training data. FieldError for what is no fold, and beside validation data.
data::Split held_out_fold(const Fields& fields, const DataSpec& spec, const std::string& fold, std::uint64_t seed,
                          const data::Dataset& all);
/// In (0, 1].
double training_share(const Fields& fields, double share);
/// FieldError where there is nothing to learn from.
/// Where validation data lies: at `val-data`, or else in the validation parts of the folders that `data` names, unless
/// `val-split` was asked for. No paths: nowhere.
struct ValidationPaths {
  std::vector<std::filesystem::path> paths;
  std::string how;  // "on `val-data`"
};
ValidationPaths validation_paths(const Fields& fields, const DataSpec& spec);

void require_data(const Fields& fields, const DataSpec& spec);
std::vector<std::filesystem::path> paths_of(const std::vector<std::string>& texts);

}  // namespace lowrank::recipes
