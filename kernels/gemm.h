// Products of activations with weights of any dtype, in the form that this CPU multiplies fastest, cut into tiles whose
// shape depends on the sizes alone: one tile is one single-threaded GEMM, so results do not depend on the thread count.
// (Whole-matrix MKL and oneDNN calls do depend on it at some shapes.)
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lowrank/kernels/base_weight.h"
#include "lowrank/kernels/runtime.h"

namespace lowrank::kernels {

/// The dtype of factors, and in which products of operands of this dtype are summed: fp64 and fp32 as they are, fp32 for bf16.
at::ScalarType product_dtype(at::ScalarType dtype);

/// Rows of a tile for `rows` rows: at most 256, an even number of tiles.
std::int64_t tile_rows(std::int64_t rows);

/// x in this dtype with unit column stride: x itself, or a copy (on the CPU made by row chunks in parallel).
at::Tensor converted(const at::Tensor& x, at::ScalarType dtype);

/// out [m, n] = x [m, K] · w [K, n], or out += it, by LibTorch; all of one dtype. Called from inside a tile.
void multiply_tile(at::Tensor out, const at::Tensor& x, const at::Tensor& w, bool accumulate = false);

/// out [M, N] = x [M, K] · wᵀ, w [N, K]; out is of product_dtype(x). Parallel, panels of w at a time.
void multiply_transposed(at::Tensor out, const at::Tensor& x, const BaseWeight& w);
/// out [M, N] = g [M, K] · w, w [K, N]; as above. `rounds`: g may be made bf16, where that is multiplied faster.
void multiply(at::Tensor out, const at::Tensor& g, const BaseWeight& w, bool rounds = false);
/// out [K, N] (+)= scale · xᵀ y for x [M, K] and y [M, N] of any dtypes, by row tiles of out, in out's dtype.
void multiply_outer(at::Tensor out, const at::Tensor& x, const at::Tensor& y, double scale, bool accumulate = false);

/// Up to this many rows a product is cut by columns of the result, with more by rows.
inline constexpr std::int64_t kFewRows = 64;
/// Elements of a weight that are converted or packed at a time, so that scratch stays within 16 MiB of fp32.
inline constexpr std::int64_t kBlockElements = std::int64_t{1} << 22;
/// How many of a weight's rows (or columns) of this length make a block: a multiple of 64, at least 64.
std::int64_t block_count(std::int64_t length);

}  // namespace lowrank::kernels
