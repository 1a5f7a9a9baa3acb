// The rotary tables of one forward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <vector>

#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/segments.h"
#include "lowrank/models/rotary_spec.h"

namespace lowrank::models {

/// Frequencies that depend on a length are chosen for each segment by its own (its keys), whatever stands beside it in
/// a batch; transformers takes the longest of the batch for all.
class RotaryPass {
 public:
  /// Tables on `device`, the same whatever the number of threads.
  RotaryPass(const std::vector<RotarySpec>& specs, const kernels::Segments& segments, at::Device device);

  /// cos and sin of position · frequency of every new token, [T, width/2] fp32, of the spec at this place: for queries,
  /// and for keys.
  const kernels::RotaryTables& queries(std::size_t spec) const { return queries_.at(spec); }
  const kernels::RotaryTables& keys(std::size_t spec) const { return keys_.at(spec); }

 private:
  std::vector<kernels::RotaryTables> queries_, keys_;
};

}  // namespace lowrank::models
