#include "lowrank/train/pairs.h"

#include "lowrank/eval/proportion.h"

namespace lowrank::train {

std::vector<std::int64_t> pair_lengths(const data::Dataset& pairs) {
  std::vector<std::int64_t> lengths;
  for (std::size_t i = 0; i + 1 < pairs.examples.size(); i += 2) {
    lengths.push_back(static_cast<std::int64_t>(pairs.examples[i].ids.size() + pairs.examples[i + 1].ids.size()));
  }
  return lengths;
}

std::vector<std::uint32_t> both_sides(const std::vector<std::uint32_t>& pairs) {
  std::vector<std::uint32_t> examples;
  examples.reserve(2 * pairs.size());
  for (const std::uint32_t pair : pairs) examples.insert(examples.end(), {2 * pair, 2 * pair + 1});
  return examples;
}

std::int64_t tokens_of(const std::vector<data::Example>& all, const std::vector<std::uint32_t>& which) {
  std::int64_t tokens = 0;
  for (const std::uint32_t i : which) tokens += static_cast<std::int64_t>(all[i].ids.size());
  return tokens;
}

EvalResult result_of_pairs(const std::string& split, const data::Dataset& set, const MicroLoss& totals,
                           const std::string& accuracy) {
  const auto pairs = static_cast<double>(totals.count);
  EvalResult result{split, totals.value / pairs, set.report.tokens, {}};
  for (const auto& [metric, sum] : totals.metrics) result.metrics[metric] = sum / pairs;
  const eval::Proportion right = eval::proportion(static_cast<std::int64_t>(totals.metrics.at(accuracy)), totals.count);
  result.metrics[accuracy + "_low"] = right.low;
  result.metrics[accuracy + "_high"] = right.high;
  return result;
}

}  // namespace lowrank::train
