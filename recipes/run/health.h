// The doctor's checks of what a run has read anyway, before it trains.
#pragma once

#include "lowrank/data/checks.h"
#include "lowrank/recipes/run/run_data.h"
#include "lowrank/recipes/run/training_run.h"

namespace lowrank::recipes {

/// What is found wrong is said once, and stands in run.json ("doctor"). DataError for what makes the run worthless,
/// unless `force` was given; the same examples in training and validation are only said, since the model is none the
/// worse for it. Of large sets some thousand examples are looked at; `lowrank doctor` looks at all.
/// After choose_recompute() and carry_chat(). `usual_rate`: the recipe is one whose learning rate can be judged.
void check_health(TrainingRun& run, const data::Dataset& train,
                  const std::vector<std::pair<std::string, data::Dataset>>& others, const data::Tokenizer& tokenizer,
                  const models::DecoderConfig& config, const TrainSpec& training, data::Learns learns,
                  bool usual_rate = false, bool full = false);

/// Its two parts: what is found in the data, after carry_chat(); and what the schedule says, told with that, after choose_recompute().
std::vector<data::Finding> examine_data(const TrainingRun& run, const data::Dataset& train,
                                        const std::vector<std::pair<std::string, data::Dataset>>& others,
                                        const data::Tokenizer& tokenizer, const models::DecoderConfig& config,
                                        data::Learns learns);
void tell_health(TrainingRun& run, std::vector<data::Finding> found, const models::DecoderConfig& config,
                 const TrainSpec& training, bool usual_rate = false, bool full = false);

}  // namespace lowrank::recipes
