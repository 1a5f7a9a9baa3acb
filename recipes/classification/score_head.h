// The score head and its adapter that a run trains.
#pragma once

#include <string>
#include <vector>

#include "lowrank/models/load_classifier.h"
#include "lowrank/recipes/run/training_run.h"

namespace lowrank::recipes {

/// New ones as the spec says, the head among what is saved whole and task_type SEQ_CLS; or those of the adapter that
/// the run starts from, whose head must have as many labels.
models::LoadedClassifier make_classifier(const TrainingRun& run, const AdapterSpec& spec,
                                         const models::LoadedModel& model, std::uint64_t seed, std::int64_t labels);

/// How PEFT loads such a folder, for its model card. `labels` empty: a reward model.
std::string peft_usage(const std::string& base_name, const std::vector<std::string>& labels);

}  // namespace lowrank::recipes
