// Functions of ATen under a header that is quick to read: <ATen/ops/…> of any free function ends in IValue and takes
// g++ 3 s in each file, <ATen/TensorOperators.h> takes 8. Tensor's methods are there without them, so that code here
// says x.mm(y) and x.sum(), and takes from this file the commonest that have none.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

namespace lowrank::kernels::aten {

/// at::empty and at::zeros.
at::Tensor empty(at::IntArrayRef shape, const at::TensorOptions& options);
at::Tensor zeros(at::IntArrayRef shape, const at::TensorOptions& options);

/// at::cat.
at::Tensor cat(const std::vector<at::Tensor>& tensors, std::int64_t dim = 0);

/// at::eye.
at::Tensor eye(std::int64_t n, const at::TensorOptions& options);

/// at::embedding: rows [T, width] of `weight` [n, width] at `ids` [T]; its gradient adds up what falls on one row.
at::Tensor embedding(const at::Tensor& weight, const at::Tensor& ids);

/// at::linalg_qr, reduced: Q [m, k], R [k, n] of x [m, n], k = min(m, n).
std::pair<at::Tensor, at::Tensor> linalg_qr(const at::Tensor& x);

/// at::linalg_svd, thin: U [m, k], S [k], Vᵀ [k, n].
std::tuple<at::Tensor, at::Tensor, at::Tensor> linalg_svd(const at::Tensor& x);

/// at::linalg_eigh: eigenvalues [n], ascending, and eigenvectors [n, n] in columns.
std::pair<at::Tensor, at::Tensor> linalg_eigh(const at::Tensor& x);

/// at::mm_out: out [m, n] = a [m, k] · b [k, n].
void mm_out(at::Tensor out, const at::Tensor& a, const at::Tensor& b);

}  // namespace lowrank::kernels::aten
