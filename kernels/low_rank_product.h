// B·A of a low-rank update, whose value and gradients do not depend on the number of threads: MKL's products of a few
// rows do.
#pragma once

#include <ATen/core/Tensor.h>

namespace lowrank::kernels {

/// b [groups, out, r], a [groups, r, n] -> [groups, out, n], by fixed chunks of rows that a single thread multiplies.
/// Differentiable once in both.
at::Tensor low_rank_product(const at::Tensor& b, const at::Tensor& a);

}  // namespace lowrank::kernels
