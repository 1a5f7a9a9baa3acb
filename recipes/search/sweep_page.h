// report.html of a sweep.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lowrank/train/sampler.h"

namespace lowrank::recipes {

/// The page of a sweep so far: the best value over the trials, their options as parallel coordinates coloured by value,
/// what each option explains (train::importance), and every trial. `facts`: what is said at the top.
std::string sweep_page(const train::SearchSpace& space, const std::vector<train::Trial>& trials,
                       const std::vector<std::pair<std::string, std::string>>& facts, const std::string& command);

}  // namespace lowrank::recipes
