#include "lowrank/kernels/gemm/tiles.h"

#include <algorithm>

namespace lowrank::kernels::gemm {

void product(const MicroKernel& kernel, const LeftRows& a, const Panels& b, std::int64_t begin, std::int64_t end,
             std::int64_t rows, std::int64_t first, std::int64_t columns, float* c, std::int64_t c_step, bool accumulate,
             float scale) {
  Tile tile;
  tile.rows = static_cast<int>(rows);
  tile.c_step = c_step;
  tile.accumulate = accumulate;
  tile.scale = scale;
  for (std::int64_t column = first; column < columns; column += kernel.columns) {
    tile.first = {end - begin, a.data, b.data + column * b.column + begin * b.step, a.step, b.step, a.row};
    tile.c = c + column;
    tile.columns = static_cast<int>(std::min<std::int64_t>(kernel.columns, columns - column));
    kernel.tile(tile);
  }
}

void multiply_near(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool accumulate, float scale) {
  const MicroKernel& kernel = micro_kernel();
  const std::int64_t rows = out.size(0), columns = out.size(1), inner = a.size(1);
  // A tile reads whole vectors of b: beyond its last column only where that is in a panel of our own.
  const bool lies = b.stride(1) == 1 && columns % kernel.columns == 0;
  Arena arena(lies ? 0 : panels_size(kernel, inner, columns));
  const Panels panels = lies ? Panels{b.const_data_ptr<float>(), 1, b.stride(0)} : packed(kernel, arena, b);
  const Source left = source_of(a);
  const float* const data = static_cast<const float*>(left.data);
  float* const to = out.mutable_data_ptr<float>();
  for (std::int64_t row = 0; row < rows; row += kernel.rows) {
    const LeftRows some = {data + row * left.row_step, left.column_step, left.row_step};
    product(kernel, some, panels, 0, inner, std::min<std::int64_t>(kernel.rows, rows - row), 0, columns, to + row * out.stride(0),
            out.stride(0), accumulate, scale);
  }
}

}  // namespace lowrank::kernels::gemm
