// gemm/product.h's products with operands in bf16, where the CPU has instructions for it. A weight and the left operand are used
// as bf16 (theirs, or rounded), or, for products of fp32, each as the sum of so many such numbers as its dtype needs (bf16_kernel.h);
// beside x in bf16 thin factors are taken apart into two, beside fp32 they are multiplied in fp32; all sums are fp32. Bytes depend neither on the number
// of threads nor on the number of rows.
#pragma once

#include <cstdint>
#include <vector>

#include "lowrank/kernels/gemm/product.h"

namespace lowrank::kernels::gemm {

/// As multiply(). `parts`: of an operand in fp32, 1 (it is rounded) or kFloatParts.
void multiply_bf16(std::int64_t rows, std::int64_t inner, const std::vector<LeftPart>& left, const std::vector<Side>& sides,
                   const std::vector<Target>& targets, std::int64_t parts);
/// Columns [column, column + columns) of a right operand as panels, each `stride` elements behind the one before and with its parts after
/// each other. On this thread.
void pack_bf16(const Bf16Kernel& kernel, const Right& right, std::int64_t column, std::int64_t columns, std::int64_t parts, std::int64_t stride,
               Bf16* to);
/// As multiply_outer(), for a y in bf16.
void multiply_outer_bf16(const at::Tensor& out, const at::Tensor& u, const at::Tensor& y, double scale, bool transposed);

}  // namespace lowrank::kernels::gemm
