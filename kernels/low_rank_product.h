// B·A of a low-rank update, independent of the number of threads: MKL's products of a few rows are not.
#pragma once

#include <ATen/core/Tensor.h>

namespace lowrank::kernels {

/// b [groups, out, r], a [groups, r, n] -> [groups, out, n], by fixed chunks of rows that a single thread multiplies.
/// Differentiable once in both.
at::Tensor low_rank_product(const at::Tensor& b, const at::Tensor& a);

/// scale · b a in fp32 for b [m, r] and a [r, n] -> [m, n]: each element is the sum over r in its order, rounded after
/// each operation, times the scale, so that any cut into rows or columns, and the twin, give the same bytes. No
/// autograd.
at::Tensor summed_product(const at::Tensor& b, const at::Tensor& a, double scale);

namespace composite {
at::Tensor low_rank_product(const at::Tensor& b, const at::Tensor& a);
at::Tensor summed_product(const at::Tensor& b, const at::Tensor& a, double scale);
}  // namespace composite

}  // namespace lowrank::kernels
