#include "lowrank/eval/bootstrap.h"

#include <algorithm>
#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/core/random.h"

namespace lowrank::eval {
namespace {

void add(Statistics& sums, const Statistics& unit) {
  if (sums.empty()) sums.resize(unit.size(), 0.0);
  for (std::size_t k = 0; k < unit.size(); ++k) sums[k] += unit[k];
}

double percentile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(std::floor(place));
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

Statistics total(const std::vector<Statistics>& units) {
  Statistics sums;
  for (const Statistics& unit : units) add(sums, unit);
  return sums;
}

Draw counted_draw(std::uint64_t seed, std::uint32_t n) {
  const core::RandomStream stream(seed, "bootstrap");
  return [stream, n](std::uint32_t resample, std::uint32_t place) {
    return static_cast<std::uint32_t>(stream.below(n, resample, place));
  };
}

std::vector<std::vector<double>> resampled_scores(const std::vector<std::vector<Statistics>>& models,
                                                  const Score& score, const Draw& draw, std::uint32_t resamples) {
  std::vector<std::vector<double>> scores(models.size());
  if (models.empty()) return scores;
  const std::size_t n = models.front().size();
  for (const auto& units : models) {
    if (units.size() != n) throw InternalError("a paired bootstrap needs the same units for every model");
  }
  std::vector<std::uint32_t> chosen(n);
  for (std::uint32_t r = 0; r < resamples; ++r) {
    for (std::size_t place = 0; place < n; ++place) chosen[place] = draw(r, static_cast<std::uint32_t>(place));
    for (std::size_t m = 0; m < models.size(); ++m) {
      Statistics sums;
      for (const std::uint32_t unit : chosen) add(sums, models[m][unit]);
      scores[m].push_back(score(sums));
    }
  }
  return scores;
}

Interval percentile_interval(std::vector<double> values, double confidence) {
  if (values.empty()) throw InternalError("there is no interval of no values");
  std::sort(values.begin(), values.end());
  const double tail = (1 - confidence) / 2;
  return {percentile(values, tail), percentile(values, 1 - tail)};
}

}  // namespace lowrank::eval
