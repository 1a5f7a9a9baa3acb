#include "lowrank/train/importance.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>

#include "lowrank/core/json_text.h"

namespace lowrank::train {
namespace {

constexpr std::size_t kGroups = 5, kLeastTrialsAGroup = 3;

// Ranks from 1, equal values sharing the mean of theirs.
std::vector<double> ranks_of(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    for (std::size_t i = begin; i < end; ++i) ranks[order[i]] = 0.5 * static_cast<double>(begin + end + 1);
    begin = end;
  }
  return ranks;
}

// Which group each trial is in. A range's groups hold equal numbers of trials, but equal values are never parted.
std::vector<std::string> groups_of(const Dimension& dimension, const std::vector<Trial>& trials) {
  std::vector<std::string> groups(trials.size(), "");
  std::vector<std::pair<double, std::size_t>> ordered;
  for (std::size_t i = 0; i < trials.size(); ++i) {
    const core::Json* value = value_of(trials[i].options, dimension.name);
    if (value == nullptr) continue;
    if (dimension.scale == Dimension::Scale::kChoice) {
      groups[i] = core::json_text(*value);
    } else {
      ordered.emplace_back(value->get<double>(), i);
    }
  }
  std::sort(ordered.begin(), ordered.end());
  const std::size_t count = std::clamp<std::size_t>(ordered.size() / kLeastTrialsAGroup, 2, kGroups);
  for (std::size_t i = 0; i < ordered.size(); ++i) {
    const bool same = i > 0 && ordered[i].first == ordered[i - 1].first;
    groups[ordered[i].second] =
        same ? groups[ordered[i - 1].second] : "group " + std::to_string(i * count / ordered.size());
  }
  return groups;
}

}  // namespace

std::vector<std::optional<double>> importance(const SearchSpace& space, const std::vector<Trial>& trials) {
  std::vector<double> values;
  for (const Trial& trial : trials) values.push_back(trial.value.value_or(std::numeric_limits<double>::infinity()));
  const std::vector<double> ranks = ranks_of(values);
  const auto n = static_cast<double>(trials.size());
  const double mean = 0.5 * (n + 1);
  double total = 0;
  for (const double rank : ranks) total += (rank - mean) * (rank - mean);

  std::vector<std::optional<double>> result;
  for (const Dimension& dimension : space.dimensions()) {
    const std::vector<std::string> groups = groups_of(dimension, trials);
    std::map<std::string, std::pair<double, double>> sums;  // of ranks, and how many
    for (std::size_t i = 0; i < groups.size(); ++i) {
      sums[groups[i]].first += ranks[i];
      ++sums[groups[i]].second;
    }
    const auto k = static_cast<double>(sums.size());
    std::optional<double>& share = result.emplace_back();
    if (k < 2 || n < k * static_cast<double>(kLeastTrialsAGroup) || total == 0) continue;
    double between = 0;
    for (const auto& [group, sum] : sums) between += sum.second * std::pow(sum.first / sum.second - mean, 2);
    share = std::clamp(1 - (total - between) / total * (n - 1) / (n - k), 0.0, 1.0);
  }
  return result;
}

}  // namespace lowrank::train
