// L1 and L2 penalties on the trained factors: A and B of an adapter, measured from where they are pulled to.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "lowrank/train/flat_parameters.h"
#include "lowrank/train/objective.h"

namespace lowrank::train {

/// l1·‖p‖₁ + l2/2·‖p‖², for the `penalty` key of metrics.jsonl. Fixed order, in double.
double penalty_value(const at::Tensor& values, double l1, double l2);

/// gradients += l2 · values, once a step. (L1 has no gradient here: see shrink.)
void add_l2_gradient(at::Tensor& gradients, const at::Tensor& values, double l2);

/// The proximal step of the L1 penalty, after the optimiser's: p <- sign(p)·max(|p| - threshold, 0), threshold = lr·l1.
/// It makes exact zeros, which a subgradient never does.
void shrink(at::Tensor& values, double threshold);

/// Share of parameters that are exactly 0.
double share_of_zeros(const at::Tensor& values);

/// The same over those ranges of the flat buffers that are penalised, each p measured from its origin.
class Penalties {
 public:
  /// `parameters` must outlive this.
  Penalties(FlatParameters& parameters, const std::vector<Penalised>& penalised);
  double value(double l1, double l2) const;
  void add_l2_gradient(double l2) const;
  void shrink(double threshold) const;
  double share_of_zeros() const;

 private:
  struct Range {
    std::int64_t begin = 0, end = 0;
    at::Tensor origin;  // [end - begin]; undefined: 0, and then neighbours are one range
  };
  at::Tensor values(const Range& range) const;
  at::Tensor departure(const Range& range) const;

  FlatParameters& parameters_;
  std::vector<Range> ranges_;
};

}  // namespace lowrank::train
