// The panel of a run on a terminal: where it is, its loss as a curve, its last figures.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lowrank/apps/console/live_lines.h"
#include "lowrank/train/trainer.h"

namespace lowrank::apps {

class Panel {
 public:
  void begin(std::int64_t steps);
  void step(const train::StepMetrics& metrics);
  void evaluated(std::int64_t step, const std::vector<train::EvalResult>& results, bool best);
  /// Whether a terminal of that size has room for it beside a few lines of what was printed before.
  static bool fits(const TerminalSize& size);
  /// `position`: where the run is and what it has left; `figures`: of the last step.
  std::vector<std::string> lines(const std::string& position, const std::string& figures, std::size_t columns) const;

 private:
  double where(std::int64_t step) const;
  std::int64_t steps_ = 0;
  std::vector<std::pair<double, double>> losses_;  // where of the run (0 to 1), loss
  std::string evaluation_;
};

}  // namespace lowrank::apps
