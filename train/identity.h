// What must be equal for a resumed run to be the same run.
#pragma once

#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/train/trainer.h"

namespace lowrank::train {

/// `given` and the trainer's own options that matter, under their names on the command line, where it lacks them.
core::Json complete_identity(core::Json given, const TrainOptions& options, std::int64_t steps, int ranks = 1);

/// Every key that differs: "--lr: 0.001 then, 0.002 now".
std::vector<std::string> identity_differences(const core::Json& then, const core::Json& now);

}  // namespace lowrank::train
