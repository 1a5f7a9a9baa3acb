// The score head and its adapter that a run trains.
#pragma once

#include <filesystem>
#include <optional>

#include "lowrank/apps/console/options.h"
#include "lowrank/core/progress.h"
#include "lowrank/models/load_classifier.h"

namespace lowrank::apps {

/// New ones as the options say, the head among what is saved whole and task_type SEQ_CLS; or those of `start`, whose
/// head must have as many labels. The table names `base_name` as the base.
models::LoadedClassifier make_classifier(const Options& options, const std::optional<std::filesystem::path>& start,
                                         const models::LoadedModel& model, const std::string& base_name,
                                         std::int64_t labels, core::ProgressObserver& progress);

/// How PEFT loads such a folder, for its model card. `labels` empty: a reward model.
std::string peft_usage(const std::string& base_name, const std::vector<std::string>& labels);

}  // namespace lowrank::apps
