#include "lowrank/train/pruner.h"

#include <algorithm>

namespace lowrank::train {
namespace {
constexpr std::int64_t kEta = 3;
}

Pruner::Pruner(std::int64_t steps) {
  for (std::int64_t rung = std::max<std::int64_t>(1, steps / (kEta * kEta)); rung < steps; rung *= kEta)
    rungs_.push_back(rung);
}

bool Pruner::goes_on(std::int64_t rung, double loss, const std::vector<Trial>& finished) const {
  const auto number = std::find(rungs_.begin(), rungs_.end(), rung) - rungs_.begin();
  std::int64_t reached = 1, better = 0;
  for (const Trial& trial : finished) {
    // By the rung's number: trials whose options give them other steps have their rungs elsewhere.
    if (static_cast<std::int64_t>(trial.rungs.size()) <= number) continue;
    ++reached;
    if (trial.rungs[static_cast<std::size_t>(number)].second <= loss) ++better;
  }
  return better < (reached + kEta - 1) / kEta;
}

}  // namespace lowrank::train
