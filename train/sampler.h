// Which trial comes next. Every choice is a function of (seed, trial number, finished trials), so that a search that
// was killed goes on as it would have.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/random.h"
#include "lowrank/train/search_space.h"

namespace lowrank::train {

struct Trial {
  enum class State { kComplete, kPruned, kFailed };
  std::int64_t number = 0;
  Assignment options;
  State state = State::kComplete;
  std::optional<double> value;  // the best validation loss; none: failed
  std::int64_t steps = 0;
  std::vector<std::pair<std::int64_t, double>> rungs = {};  // (step, best validation loss until then), see pruner.h
  std::string reason = {};                                  // why it failed
};

enum class Sampler { kGrid, kRandom, kTpe };

/// The options of trial `number` (from 0). Nothing: a grid is through.
/// - grid: SearchSpace::grid in order.
/// - random: every dimension by itself, uniform along its scale.
/// - tpe: the tree-structured Parzen estimator (Bergstra et al. 2011, §4) over all dimensions at once (Falkner et al.
/// 2018,
///   §3.1): the finished trials are parted into the best ⌈n/10⌉ (at most 25) and the others; of 24 draws from the
///   Parzen estimate of the best, the one with the largest ratio of both densities is taken. The first ten trials are
///   random, and one in six after them, so that no part of the space is given up. A pruned trial ranks behind every
///   complete one, those that came further first; failed ones are left out.
std::optional<Assignment> next_trial(Sampler sampler, const SearchSpace& space, std::int64_t number,
                                     const std::vector<Trial>& finished, std::uint64_t seed);

/// A Parzen estimate over a space: a product kernel at every point and, as the prior, the uniform density. Along a
/// range a kernel is a Gaussian of width 0.2·n^(-1/(d+4)) of the scale, cut to it; of a choice the point's own value
/// has weight 1 + 1/(n+1) and every other 1/(n+1); a dimension that a point does not have is uniform.
class Parzen {
 public:
  Parzen(const SearchSpace& space, const std::vector<const Assignment*>& points);
  /// Density on the unit cube of places (a choice: probability) of the dimensions that `point` has.
  double density(const Assignment& point) const;
  /// Draw `candidate` of trial `number`.
  Assignment draw(const core::RandomStream& stream, std::uint64_t number, std::uint64_t candidate) const;

 private:
  double factor(const Dimension& d, std::optional<double> center, double place) const;

  const SearchSpace& space_;
  std::vector<std::vector<std::optional<double>>> kernels_;  // places by dimension
  double width_ = 0, blur_ = 0;
};

}  // namespace lowrank::train
