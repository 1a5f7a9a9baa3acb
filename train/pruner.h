// Asynchronous successive halving (ASHA; Li et al. 2020, algorithm 2, in its stopping form): which trials end early.
#pragma once

#include <cstdint>
#include <vector>

#include "lowrank/train/sampler.h"

namespace lowrank::train {

/// A trial is looked at when it reaches a rung, step r·ηᵏ of its run with η = 3 and r = a ninth of the steps (at least
/// one): it goes on when its best validation loss so far is among the best ⌈n/η⌉ of the n trials that reached that
/// rung, itself included. Trials are run one after the other, so the first one always runs to its end.
class Pruner {
 public:
  explicit Pruner(std::int64_t steps);

  /// The rungs below the last step, ascending.
  const std::vector<std::int64_t>& rungs() const { return rungs_; }
  /// Whether a trial with this loss at this rung goes on, given the earlier ones.
  bool goes_on(std::int64_t rung, double loss, const std::vector<Trial>& finished) const;

 private:
  std::vector<std::int64_t> rungs_;
};

}  // namespace lowrank::train
