// Whether an op runs fused or as its composite twin.
#pragma once

#include <ATen/core/Tensor.h>

#include "lowrank/kernels/mode.h"

namespace lowrank::kernels {

/// The fused ops are written for fp32, fp64 and bf16 on the CPU; whatever else runs as plain ATen ops.
inline bool use_fused(const at::Tensor& x) {
  const auto dtype = x.scalar_type();
  return mode() == Mode::kFused && x.is_cpu() && (dtype == at::kFloat || dtype == at::kDouble || dtype == at::kBFloat16);
}

}  // namespace lowrank::kernels
