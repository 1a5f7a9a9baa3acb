#include "lowrank/train/pairs.h"

#include "lowrank/eval/proportion.h"
#include "lowrank/train/text_objective.h"

namespace lowrank::train {

data::Lengths pair_lengths(const data::Dataset& pairs) { return item_lengths(pairs.examples, 2); }

EvalResult result_of_pairs(const std::string& split, const data::Dataset& set, const MicroLoss& totals,
                           const std::string& accuracy, const std::vector<double>& losses) {
  const auto pairs = static_cast<double>(totals.count);
  EvalResult result{split, totals.value / pairs, set.report.tokens, {}};
  for (const auto& [metric, sum] : totals.metrics) result.metrics[metric] = sum / pairs;
  const eval::Proportion right = eval::proportion(static_cast<std::int64_t>(totals.metrics.at(accuracy)), totals.count);
  result.metrics[accuracy + "_low"] = right.low;
  result.metrics[accuracy + "_high"] = right.high;
  for (const double loss : losses) result.units.push_back({loss, 1});
  return result;
}

}  // namespace lowrank::train
