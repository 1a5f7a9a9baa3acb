// oneDNN's packed weights, and what it can: LibTorch registers the operators for its compiler only, so they are found
// through the dispatcher; a LibTorch or CPU that lacks them gives undefined tensors and the plain GEMM is used.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lowrank::kernels {

/// w [n, K], dense, packed for products with about `rows` rows; undefined where that is not possible.
at::Tensor pack_weight(const at::Tensor& w, std::int64_t rows);
/// x [m, K] · wᵀ for a packed w.
at::Tensor packed_product(const at::Tensor& x, const at::Tensor& packed);

/// LibTorch's own view of whether oneDNN has fast bf16 here; true where the operator does not exist.
bool onednn_allows_bf16();

}  // namespace lowrank::kernels
