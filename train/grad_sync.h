// The seam for several ranks: what they sum, tell each other and agree on. One rank is the same code with nothing to
// do.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/plan.h"
#include "lowrank/kernels/sharded_base.h"
#include "lowrank/train/metrics.h"

namespace lowrank::train {

/// Totals of a step over its micro-batches.
struct StepTotals {
  double loss = 0;  // sum, not yet divided
  std::int64_t count = 0, tokens = 0;
  Metrics metrics;  // sums, as the loss
};

/// Every rank calls the same functions in the same order; each returns on all ranks, with the same bytes.
class GradSync {
 public:
  virtual ~GradSync() = default;
  virtual int rank() const = 0;
  virtual int ranks() const = 0;
  /// Sums the flat gradient buffer and the totals over all ranks, in place, in the order of the ranks.
  virtual void sum(at::Tensor& gradients, StepTotals& totals) = 0;
  /// Gradients will lie on this device: how sums go from there, in words ("NCCL 2.28.3, between the GPUs"); empty where there is
  /// nothing to say. Every rank calls it, before the first sum.
  virtual std::string meet_on(at::Device /*device*/) { return ""; }
  /// What each rank gives, in the order of the ranks.
  virtual std::vector<std::string> gather(const std::string& bytes) = 0;
  /// A rank as people know it: "rank 1 (node-b, pid 4711)".
  virtual std::string name(int rank) const { return "rank " + std::to_string(rank); }
  /// Throws where it is known that another rank has ended or stopped: to be called in long work between two meetings.
  virtual void look() {}
  /// Which of the processes of its machine this is, from 0.
  virtual int local_rank() const { return 0; }
  /// Whether all ranks stand on one machine, where what they map of files is there once.
  virtual bool on_one_machine() const { return true; }
  /// A way of its own for what ranks keep for each other of a frozen base; null where there are no others.
  virtual std::unique_ptr<kernels::ShareExchange> exchange() { return nullptr; }
  /// What went between the ranks, for run.json; null: nothing.
  virtual core::Json traffic_json() const { return nullptr; }
};

/// One process: nothing to sum.
class OneRank : public GradSync {
 public:
  int rank() const override { return 0; }
  int ranks() const override { return 1; }
  void sum(at::Tensor& /*gradients*/, StepTotals& /*totals*/) override {}
  std::vector<std::string> gather(const std::string& bytes) override { return {bytes}; }
};

/// `sync`, or the one rank there is where it is null.
GradSync& or_alone(GradSync* sync);

/// The numbers of all ranks end to end, in the order of the ranks.
std::vector<double> gather(GradSync& sync, const std::vector<double>& own);

/// The largest of the ranks' numbers.
std::int64_t largest(GradSync& sync, std::int64_t own);

/// Rank 0's text.
std::string from_first(GradSync& sync, const std::string& own);

/// `work` on every rank; none goes on before all are done. Where it throws on one, all throw: that one its own error,
/// the others an Error that names the rank. What `work` calls must not wait for other ranks.
void together(GradSync& sync, const std::function<void()>& work);

/// ConfigError naming the keys by which a rank's object differs from rank 0's: it was started with other options, on
/// other files, or runs another program.
void require_equal(GradSync& sync, const core::Json& own);

/// The run [first, last) of `count` items that falls to this rank.
struct Share {
  std::size_t first = 0, last = 0;
};
Share share_of(std::size_t count, const GradSync& sync);

/// The plan of a run on these ranks.
data::PlanOptions dealt(data::PlanOptions plan, const GradSync& sync);

}  // namespace lowrank::train
