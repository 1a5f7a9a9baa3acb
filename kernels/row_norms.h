// Norms of the rows of an adapted weight, W + s·B A, for DoRA (Liu et al. 2024, eq. 5).
#pragma once

#include <ATen/core/Tensor.h>

#include "lowrank/kernels/base_weight.h"

namespace lowrank::kernels {

/// The least norm that is given.
inline constexpr double kLeastNorm = 1e-12;

/// ‖w_i‖² of the rows of W [out, in], in fp64 [out]. Independent of the number of threads.
at::Tensor squared_row_norms(const BaseWeight& weight);

/// n_i = ‖w_i + s·B_i A‖ [out] in A's dtype (fp32 or fp64) for A [r, in] and B [out, r]; `squared`: squared_row_norms
/// of the weight. By the identity n_i² = ‖w_i‖² + 2s⟨(W Aᵀ)_i, B_i⟩ + s² B_i (A Aᵀ) B_iᵀ: one thin product, nothing of
/// W's size is made. Sums in fp64. At least 1e-12, so that a row of zeros divides nothing by zero. No autograd: DoRA
/// takes the norm as a constant (§4.3). Independent of the number of threads.
at::Tensor adapted_row_norms(const BaseWeight& weight, const at::Tensor& squared, const at::Tensor& a,
                             const at::Tensor& b, double scale);

namespace composite {
at::Tensor squared_row_norms(const BaseWeight& weight);
at::Tensor adapted_row_norms(const BaseWeight& weight, const at::Tensor& squared, const at::Tensor& a,
                             const at::Tensor& b, double scale);
}  // namespace composite

}  // namespace lowrank::kernels
