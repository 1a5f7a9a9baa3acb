// Preference pairs in a plan: a Dataset of data::load_preferences has the sides of pair i as its examples 2i and 2i
// + 1.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/data/dataset.h"
#include "lowrank/data/lengths.h"
#include "lowrank/train/objective.h"

namespace lowrank::train {

/// Tokens of each pair, both sides, for a plan.
data::Lengths pair_lengths(const data::Dataset& pairs);

/// The means of `totals` over the pairs of `set`, whose losses one by one are `losses`; metric `accuracy`, a count of hits, with its interval (accuracy +
/// "_low",
/// "_high", as eval::proportion).
EvalResult result_of_pairs(const std::string& split, const data::Dataset& set, const MicroLoss& totals,
                           const std::string& accuracy, const std::vector<double>& losses);

}  // namespace lowrank::train
