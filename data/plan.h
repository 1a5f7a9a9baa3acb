// The plan of a run, made before step 1 from lengths and the seed alone: which examples each optimiser step takes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "lowrank/data/lengths.h"

namespace lowrank::data {

class PlanMemory;

struct PlanOptions {
  int batch_size = 4;  // examples a micro-batch
  std::optional<std::int64_t> batch_tokens =
      std::nullopt;  // instead: fill a micro-batch to this many tokens (look-ahead of 64)
  int grad_accum = 1;
  int ranks = 1;        // that share the micro-batches of a step
  int batch_ranks = 0;  // whose micro-batches a step takes, where that is another number (a run that is gone on with)
  double epochs = 3;                                     // whole or fractional
  std::optional<std::int64_t> max_steps = std::nullopt;  // wins over epochs
  bool shuffle = true;
  std::uint64_t seed = 42;
  /// How often an epoch takes the examples of each source; empty: once. A source of weight w gives its examples in the
  /// seed's order, one pass after the other, and an epoch the next w passes of them, a part where w is one.
  std::vector<double> weights = {};
  std::vector<std::uint32_t> sources = {};  // of each example, where there are weights
  /// Plans of the same steps, as copies of these options have them, are made once where this is there. A plan is the same
  /// without it.
  std::shared_ptr<PlanMemory> memory = nullptr;
};

std::shared_ptr<PlanMemory> plan_memory();

struct StepPlan {
  double epoch = 0;                     // passes over the data completed after this step
  std::vector<std::uint32_t> examples;  // in order; the cut into micro-batches never changes the set
};

/// Each epoch is shuffled by itself and its last step may be short; steps never span two epochs. With `batch_tokens` a
/// step begins with the first example that is left and takes on those that still fit, passing over at most 64; an
/// example longer than the whole step goes alone. The last of fractional epochs takes ⌈fraction · its steps⌉ steps.
class Plan {
 public:
  /// ConfigError when there is nothing to plan.
  Plan(const Lengths& lengths, const PlanOptions& options);
  std::int64_t steps() const;
  /// Steps of one whole epoch (with `batch_tokens`: of the first; others may differ by a few).
  std::int64_t steps_per_epoch() const;
  StepPlan step(std::int64_t i) const;
  /// The step's list cut in order into `grad_accum` micro-batches a rank, at least one for each that shares them (fewer
  /// where there are fewer examples) so that the longest has as few tokens as it can; this rank's share. Ranks take
  /// consecutive runs of micro-batches.
  /// (With `batch_tokens` and several micro-batches one may hold more than `batch_tokens`, by less than an example:
  /// what a step takes depends on the product alone, so 1 × 2048 and 2 × 1024 see the same data.)
  std::vector<std::vector<std::uint32_t>> micro_batches(std::int64_t step, int rank = 0) const;
  /// Tokens of the step that the ranks before this one take: where this rank's tokens begin in the step's plan.
  std::int64_t first_token(std::int64_t step, int rank = 0) const;
  int ranks() const { return options_.ranks; }
  int batch_ranks() const { return options_.batch_ranks > 0 ? options_.batch_ranks : options_.ranks; }
  /// Tokens in all steps.
  std::int64_t total_tokens() const;
  /// Tokens of the largest micro-batch of the first epoch.
  std::int64_t largest_micro_batch() const;

 private:
  friend class PlanMemory;
  struct Steps;
  struct Share {
    std::size_t first, last;  // a micro-batch: [first, last) of the step's list
  };
  std::size_t parts_of(std::size_t examples) const;  // micro-batches of a step
  std::vector<Share> cut(std::span<const std::uint32_t> examples) const;
  std::int64_t tokens_of(std::span<const std::uint32_t> examples) const;

  PlanOptions options_;
  std::shared_ptr<const Steps> steps_;  // 4 bytes an example for each of two epochs; with `batch_tokens` of each, and 8 a step
};

}  // namespace lowrank::data
