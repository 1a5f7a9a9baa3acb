// `finetune --task image-classification`.
#pragma once

#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/training/training_run.h"

namespace lowrank::apps {

/// Trains an image classifier's adapter, head or all of it on pictures of classes. `observer`: instead of the view on
/// the console.
RunOutcome run_image_classification(const Options& options, const Console& console,
                                    train::TrainObserver* observer = nullptr);

}  // namespace lowrank::apps
