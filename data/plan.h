// The plan of a run, made before step 1 from lengths and the seed alone: which examples each optimiser step takes.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace lowrank::data {

struct PlanOptions {
  int batch_size = 4;                        // examples a micro-batch
  std::optional<std::int64_t> batch_tokens;  // instead: fill a micro-batch to this many tokens (look-ahead of 64)
  int grad_accum = 1;
  int ranks = 1;
  double epochs = 3;                         // whole or fractional
  std::optional<std::int64_t> max_steps;     // wins over epochs
  bool shuffle = true;
  std::uint64_t seed = 42;
};

struct StepPlan {
  double epoch = 0;                          // passes over the data completed after this step
  std::vector<std::uint32_t> examples;       // in order; the cut into micro-batches never changes the set
};

class Plan {
 public:
  /// `lengths`: tokens of each example. ConfigError when there is nothing to plan.
  Plan(const std::vector<std::int64_t>& lengths, const PlanOptions& options);
  std::int64_t steps() const { return static_cast<std::int64_t>(steps_.size()); }
  std::int64_t steps_per_epoch() const { return steps_per_epoch_; }
  const StepPlan& step(std::int64_t i) const { return steps_.at(static_cast<std::size_t>(i)); }
  /// The step's list cut in order into `grad_accum` micro-batches of near-equal rows (fewer where there are fewer
  /// examples), this rank's share.
  std::vector<std::vector<std::uint32_t>> micro_batches(std::int64_t step, int rank = 0) const;
  /// Tokens in all steps.
  std::int64_t total_tokens() const { return total_tokens_; }

 private:
  PlanOptions options_;
  std::vector<std::int64_t> lengths_;
  std::vector<StepPlan> steps_;
  std::int64_t steps_per_epoch_ = 0, total_tokens_ = 0;
};

}  // namespace lowrank::data
