// The seam for several ranks: what is summed over them between the backward passes and the division by the count.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lowrank/train/metrics.h"

namespace lowrank::train {

/// Totals of a step over its micro-batches.
struct StepTotals {
  double loss = 0;  // sum, not yet divided
  std::int64_t count = 0, tokens = 0;
  Metrics metrics;  // sums, as the loss
};

class GradSync {
 public:
  virtual ~GradSync() = default;
  virtual int rank() const = 0;
  virtual int ranks() const = 0;
  /// Sums the flat gradient buffer and the totals over all ranks, in place.
  virtual void sum(at::Tensor& gradients, StepTotals& totals) = 0;
};

/// One process: nothing to sum.
class OneRank : public GradSync {
 public:
  int rank() const override { return 0; }
  int ranks() const override { return 1; }
  void sum(at::Tensor& /*gradients*/, StepTotals& /*totals*/) override {}
};

}  // namespace lowrank::train
