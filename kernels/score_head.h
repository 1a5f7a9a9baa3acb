// A head of a few rows, w·x in double from fp32, and its gradients: each number summed in a fixed order, whatever the
// number of threads. Nothing is recorded. Each has its twin in `composite`, which runs on any device.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

namespace lowrank::kernels {

/// x [n, d] of any float dtype, weight fp32 [k, d] -> scores [n · k], row by row.
std::vector<double> score_rows(const at::Tensor& x, const at::Tensor& weight);
/// Given the slopes [n · k] of a loss by the scores: its gradient by x, fp32 [n, d].
at::Tensor score_gradient_by_rows(const at::Tensor& weight, std::span<const double> slopes);
/// Its gradient by the weight, fp32 [k, d]: each a sum over the rows of x in their order.
at::Tensor score_gradient_by_weight(const at::Tensor& x, std::span<const double> slopes);

namespace composite {
std::vector<double> score_rows(const at::Tensor& x, const at::Tensor& weight);
at::Tensor score_gradient_by_rows(const at::Tensor& weight, std::span<const double> slopes);
at::Tensor score_gradient_by_weight(const at::Tensor& x, std::span<const double> slopes);
}  // namespace composite

}  // namespace lowrank::kernels
