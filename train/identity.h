// What must be equal for a resumed run to be the same run.
#pragma once

#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/train/trainer.h"

namespace lowrank::train {

/// `given` and the trainer's own options that matter, under their names on the command line, where it lacks them.
/// `ranks`: those whose batches a step takes; `processes`: those that share its work.
core::Json complete_identity(core::Json given, const TrainOptions& options, std::int64_t steps, int ranks = 1,
                             int processes = 1);

/// Every key that differs: "--lr: 0.001 then, 0.002 now". `processes` does not count: how many ranks share the work is
/// no option of the run.
std::vector<std::string> identity_differences(const core::Json& then, const core::Json& now,
                                              const std::string& first = "then", const std::string& second = "now");

/// An identity without how long the run is.
core::Json without_length(core::Json identity);

/// The ranks that shared the work of a run with this identity.
std::int64_t processes_of(const core::Json& identity);

}  // namespace lowrank::train
