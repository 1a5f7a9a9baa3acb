// Steps whose loss or gradient is far from those before them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/core/json.h"

namespace lowrank::train {

enum class OnSpike { kIgnore, kStop, kSkip, kRollback };
OnSpike parse_on_spike(const std::string& name);  // ConfigError with the nearest
std::string on_spike_name(OnSpike what);

/// Remembers the losses and gradient norms of the last 128 steps that were taken. A step spikes when either is not
/// finite, or more than 6 standard deviations above the mean of those (from 20 steps on; the deviation is taken as at
/// least a hundredth of the mean). As the skip-step optimiser of OLMo 2 (2025, section 3.1), whose window and factor
/// these are.
class SpikeWatch {
 public:
  explicit SpikeWatch(OnSpike what) : what_(what) {}
  OnSpike what() const { return what_; }
  /// What is wrong with a step of that loss and norm, in words; empty: nothing, or nobody asked.
  std::string fault(double loss, double norm) const;
  /// A step that was taken.
  void took(double loss, double norm);
  /// A step that was not: what is kept of it for the run's account. Counts those in a row.
  void left_out(std::int64_t step, const std::string& fault, const char* done);
  /// After a rollback to a checkpoint, of to_json() `then` (null: none): its losses and norms, and half the rate of now. What a run
  /// that is killed and resumed from there comes to as well.
  void back_to(const core::JsonView& then);
  double rate() const { return rate_; }
  std::int64_t in_a_row() const { return in_a_row_; }
  std::int64_t rollbacks() const { return rollbacks_; }
  const core::Json& events() const { return events_; }

  /// For checkpoints; every number comes back as it was. FormatError naming what is wrong with it.
  core::Json to_json() const;
  void restore(const core::JsonView& state);

 private:
  OnSpike what_;
  std::vector<double> losses_, norms_;  // oldest first
  double rate_ = 1;
  std::int64_t in_a_row_ = 0, rollbacks_ = 0;
  core::Json events_ = core::Json::array();
};

}  // namespace lowrank::train
