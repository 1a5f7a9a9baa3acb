#include <ATen/Parallel.h>

#include <algorithm>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/gemm/bf16_product.h"
#include "lowrank/kernels/gemm/micro.h"
#include "lowrank/kernels/gemm/panels.h"
#include "lowrank/kernels/gemm/product.h"
#include "lowrank/kernels/gemm/scratch.h"

namespace lowrank::kernels::gemm {

namespace {

constexpr std::int64_t kSteps = 128;  // rows of y and of u that stay in the nearest cache while they are used
constexpr std::int64_t kPanels = 40;   // of y's columns in a task, at most

}  // namespace

// y's columns are the rows of a tile, read where they lie, and u's the columns: a rank of 16 fills it.
void multiply_outer(const at::Tensor& out, const at::Tensor& thin, const at::Tensor& wide, double scale,
                    bool transposed) {
  const at::Tensor y = wide.stride(1) == 1 || wide.size(1) == 1 ? wide : wide.contiguous();
  if (in_bf16(y.scalar_type())) return multiply_outer_bf16(out, thin, y, scale, transposed);
  const MicroKernel& kernel = micro_kernel();
  const std::int64_t rows = y.size(0), rank = thin.size(1), columns = y.size(1);
  const std::int64_t width = round_up(rank, kernel.columns);
  float* const u = scratch(Purpose::kLeft, rows * width);  // panels of some columns, each with all rows
  pack_right(kernel, packable(thin) ? thin : thin.contiguous(), 0, rows, 1, u);
  float* const result = out.mutable_data_ptr<float>();
  const auto factor = static_cast<float>(scale);
  const std::int64_t panels = ceil_div(columns, kernel.rows), threads = at::get_num_threads();
  const std::int64_t tasks = std::min(round_up(ceil_div(panels, kPanels), threads), panels);
  for_tasks(tasks, [&](std::int64_t task) {
    const std::int64_t first = panels * task / tasks * kernel.rows;
    const std::int64_t count = std::min(panels * (task + 1) / tasks * kernel.rows, columns) - first;
    float* const sums = scratch(Purpose::kSums, count * width);
    for (std::int64_t row = 0; row < rows; row += kSteps) {
      const std::int64_t n = std::min(kSteps, rows - row);
      for (std::int64_t column = 0; column < count; column += kernel.rows) {
        Tile tile;
        tile.rows = static_cast<int>(std::min<std::int64_t>(kernel.rows, count - column));
        tile.first = {n, nullptr, nullptr, kernel.rows, kernel.columns};
        if (y.scalar_type() == at::kFloat) {
          tile.first.a = y.const_data_ptr<float>() + row * y.stride(0) + first + column;
          tile.first.a_step = y.stride(0);
        } else {
          float* const panel = scratch(Purpose::kRows, kSteps * kernel.rows);
          kernel.pack(moved(source_of(y, /*transposed=*/true), first + column, row), tile.rows, n, 1, panel, tile.rows,
                      kernel.rows);
          tile.first.a = panel;
        }
        tile.c_step = width;
        tile.accumulate = row > 0;
        for (std::int64_t r = 0; r < rank; r += kernel.columns) {
          tile.columns = static_cast<int>(std::min<std::int64_t>(kernel.columns, rank - r));
          tile.first.b = u + r * rows + row * kernel.columns;
          tile.c = sums + column * width + r;
          kernel.tile(tile);
        }
      }
    }
    const std::int64_t across = transposed ? rank : 1, along = transposed ? 1 : columns;
    for (std::int64_t j = 0; j < count; ++j) {
      for (std::int64_t r = 0; r < rank; ++r) result[r * along + (first + j) * across] = factor * sums[j * width + r];
    }
  });
}

}  // namespace lowrank::kernels::gemm
