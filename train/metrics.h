// Named measures of a step or an evaluation, beside its loss: "rewards/margins", "objective/kl".
#pragma once

#include <map>
#include <string>

namespace lowrank::train {

using Metrics = std::map<std::string, double>;

}  // namespace lowrank::train
