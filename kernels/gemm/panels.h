// What the products share: sources of panels, and tasks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "lowrank/kernels/base_weight.h"
#include "lowrank/kernels/gemm/micro.h"

namespace lowrank::kernels::gemm {

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
inline std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

/// InternalError unless fp32, bf16 or fp16.
Element element_of(const at::Tensor& x);
/// x as it lies; its transpose where `transposed`.
Source source_of(const at::Tensor& x, bool transposed = false);
/// The same from row `rows` and column `columns` on.
Source moved(Source x, std::int64_t rows, std::int64_t columns);
/// Whether one of its strides is 1, as Source wants it.
bool packable(const at::Tensor& x);

/// The dtype in which the kernels take a weight's panels: its own where those are views that they read, else fp32.
at::ScalarType panel_dtype(const BaseWeight& w);

/// Whether a tile reads rows of x, whose column stride is 1, as they lie: fp32, and not so far apart that they share few
/// places of the nearest cache.
bool lies_well(const at::Tensor& x);

/// f(task) for every task, each thread taking the next one.
void for_tasks(std::int64_t tasks, const std::function<void(std::int64_t)>& f);

/// Steps [first, first + count) of a right operand b [K, n] as panels of the kernel's width.
void pack_right(const MicroKernel& kernel, const at::Tensor& b, std::int64_t first, std::int64_t count, float scale,
                float* to);

}  // namespace lowrank::kernels::gemm
