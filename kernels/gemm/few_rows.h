// Products of a few rows, as decoding makes them: weights pass through once, from where and as they lie, and nothing is
// packed. A row's result depends neither on the other rows nor on the number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "lowrank/kernels/base_weight.h"

namespace lowrank::kernels::gemm {

/// Whether products of `rows` rows whose operands are made `dtype` are formed here: those of `takes` (product.h) that
/// are too few for a packed panel.
bool takes_few(at::ScalarType dtype, std::int64_t rows);

/// y [M, n] fp32 (+)= scale · x [M, K] · wᵀ; w [n, K] fp32, bf16 or fp16 and x fp32, both of unit column stride, as y.
/// On this thread alone.
void dot_products(const at::Tensor& y, const at::Tensor& x, const at::Tensor& w, double scale = 1, bool accumulate = false);

/// The same with W's rows [begin, begin + y's columns), read as they lie, codes too; in fp32 where that cannot be.
void dot_products(const at::Tensor& y, const at::Tensor& x, const BaseWeight& w, std::int64_t begin);

/// f(begin, end) for pieces of the `columns` of a result, in parallel where they are worth it: `each` takes so many
/// multiply-adds.
void for_columns(std::int64_t columns, std::int64_t each, const std::function<void(std::int64_t, std::int64_t)>& f);

/// out [M, N] fp32 = x [M, K] · Wᵀ.
void multiply_few(const at::Tensor& out, const at::Tensor& x, const BaseWeight& w);

}  // namespace lowrank::kernels::gemm
