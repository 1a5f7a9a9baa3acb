// metrics.jsonl as curves.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/eval/chart.h"

namespace lowrank::recipes {

struct Curves {
  eval::Curve loss{"training", {}}, rate{"learning rate", {}};
  eval::Curve reward{"reward", {}};  // of PPO's rollouts, less what KL costs: what its loss does not tell
  std::vector<eval::Curve> evaluations;  // a set each, in the order in which they come

  const eval::Curve* evaluation(const std::string& split) const;  // null: none
};

/// FormatError, with file and line, where a row is no JSON.
Curves read_curves(const std::filesystem::path& metrics);

}  // namespace lowrank::recipes
