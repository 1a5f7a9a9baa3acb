// The learning-rate range test of a run, for its report.
#pragma once

#include "lowrank/core/json.h"
#include "lowrank/eval/chart.h"

namespace lowrank::recipes {

/// The loss over the decimal logarithm of the rate. `test`: train::to_json(RateTest).
eval::Chart rate_chart(const core::Json& test);

}  // namespace lowrank::recipes
