// Products of matrices that lie near, tile by tile: what one task multiplies on its own. Inside kernels/.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lowrank/kernels/gemm/micro.h"
#include "lowrank/kernels/gemm/panels.h"
#include "lowrank/kernels/gemm/scratch.h"

namespace lowrank::kernels::gemm {

/// Memory of one task, handed out in turn.
class Arena {
 public:
  explicit Arena(std::int64_t floats) : next_(scratch(Purpose::kOther, floats)) {}
  float* take(std::int64_t floats) {
    float* const here = next_;
    next_ += round_up(floats, 16);
    return here;
  }

 private:
  float* next_;
};

/// A right operand: packed, in panels of the kernel's width, each with all of its steps; or rows as they lie.
struct Panels {
  const float* data = nullptr;
  std::int64_t column, step;  // floats from column to column, of those that panels begin with, and from step to step
};

inline std::int64_t panels_size(const MicroKernel& kernel, std::int64_t inner, std::int64_t columns) {
  return round_up(inner * round_up(columns, kernel.columns), 16);
}

inline Panels packed(const MicroKernel& kernel, Arena& arena, const at::Tensor& b) {
  float* const to = arena.take(panels_size(kernel, b.size(0), b.size(1)));
  pack_right(kernel, b, 0, b.size(0), 1, to);
  return {to, b.size(0), kernel.columns};
}

/// Some rows of a left operand, as Range has them.
struct LeftRows {
  const float* data;
  std::int64_t step, row;
};
inline LeftRows by_row(const float* data, std::int64_t row) { return {data, 1, row}; }
inline LeftRows by_step(const float* data, std::int64_t step) { return {data, step, 1}; }

/// c [rows, columns] (+)= scale · a · b over steps [begin, end), a's from its first on; of c from column `first` on. At most the
/// kernel's rows.
void product(const MicroKernel& kernel, const LeftRows& a, const Panels& b, std::int64_t begin, std::int64_t end,
             std::int64_t rows, std::int64_t first, std::int64_t columns, float* c, std::int64_t c_step,
             bool accumulate = false, float scale = 1);

/// out [M, N] (+)= scale · a [M, K] · b [K, N]: matrices of fp32 that fit the cache, one of the strides of each 1, out's column
/// stride.
void multiply_near(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool accumulate, float scale);

}  // namespace lowrank::kernels::gemm
