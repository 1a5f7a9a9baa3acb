// `finetune --task classification`: labels of texts, by a score head over the decoder.
#pragma once

#include "lowrank/apps/training/finetune_run.h"

namespace lowrank::apps {

/// One run, as run_finetune; `options` have their preset.
RunOutcome run_classification(const Options& options, const Console& console, SharedBase& base,
                              train::TrainObserver* observer);

}  // namespace lowrank::apps
