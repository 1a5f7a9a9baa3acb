// Paired bootstrap: how far a score would move with other documents of the same kind (Efron 1979; Koehn 2004 for scores
// of text).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace lowrank::eval {

/// What one unit (a document, a question) adds to a score, such as {nats, tokens}: a score is a function of the sums.
using Statistics = std::vector<double>;
using Score = std::function<double(const Statistics& sums)>;
/// The unit in [0, n) that stands at `place` of a resample.
using Draw = std::function<std::uint32_t(std::uint32_t resample, std::uint32_t place)>;

inline constexpr std::uint32_t kResamples = 2000;

struct Interval {
  double low = 0, high = 0;
};

/// Sums over all units. They are added in order, in double.
Statistics total(const std::vector<Statistics>& units);

/// Draws with replacement by counters: the same resamples for every model and every score of a set of n units.
Draw counted_draw(std::uint64_t seed, std::uint32_t n);

/// Scores [model][resample] of units [model][unit]; every model gets the same resamples, so differences are paired.
/// InternalError where models have unequal numbers of units.
std::vector<std::vector<double>> resampled_scores(const std::vector<std::vector<Statistics>>& models,
                                                  const Score& score, const Draw& draw,
                                                  std::uint32_t resamples = kResamples);

/// The percentile interval that holds `confidence` of the values, interpolated linearly as numpy.percentile does.
Interval percentile_interval(std::vector<double> values, double confidence = 0.95);

}  // namespace lowrank::eval
