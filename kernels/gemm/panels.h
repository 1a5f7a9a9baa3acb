// What the products share: sources of panels, and tasks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "lowrank/kernels/base_weight.h"
#include "lowrank/kernels/gemm/bf16_kernel.h"
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

/// A task of a product: columns [column, column + columns) of result number `of`, over tiles of rows [first, last).
struct Cut {
  std::size_t of = 0;
  std::int64_t column = 0, columns = 0, first = 0, last = 0;
};
/// Cuts of results that keep all threads busy; what they are has no bearing on the result. `columns`: of each result; `panels`: of
/// `width` columns that a task of it has, at most; `tiles` of rows.
std::vector<Cut> cuts_of(const std::vector<std::int64_t>& columns, const std::vector<std::int64_t>& panels, std::int64_t width, std::int64_t tiles);

/// The bits of a tensor in bf16.
inline const Bf16* bits_of(const at::Tensor& x) { return static_cast<const Bf16*>(x.const_data_ptr()); }

/// Steps [first, first + count) of a right operand b [K, n] as panels of the kernel's width.
void pack_right(const MicroKernel& kernel, const at::Tensor& b, std::int64_t first, std::int64_t count, float scale,
                float* to);

}  // namespace lowrank::kernels::gemm
