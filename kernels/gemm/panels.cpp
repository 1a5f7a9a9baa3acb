#include "lowrank/kernels/gemm/panels.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels::gemm {

Element element_of(const at::Tensor& x) {
  switch (x.scalar_type()) {
    case at::kFloat:
      return Element::kFloat;
    case at::kBFloat16:
      return Element::kBFloat16;
    case at::kHalf:
      return Element::kHalf;
    default:
      throw InternalError("kernels::gemm: fp32, bf16 or fp16 is expected");
  }
}

Source source_of(const at::Tensor& x, bool transposed) {
  Source source{x.const_data_ptr(), element_of(x), x.stride(0), x.stride(1)};
  // The stride of a lone row or column says nothing.
  if (x.size(1) <= 1 && source.row_step != 1) source.column_step = 1;
  if (x.size(0) <= 1 && source.column_step != 1) source.row_step = 1;
  if (transposed) std::swap(source.row_step, source.column_step);
  return source;
}

Source moved(Source x, std::int64_t rows, std::int64_t columns) {
  const std::int64_t bytes = x.element == Element::kFloat ? 4 : 2;
  x.data = static_cast<const char*>(x.data) + (rows * x.row_step + columns * x.column_step) * bytes;
  return x;
}

bool packable(const at::Tensor& x) {
  return x.size(0) <= 1 || x.size(1) <= 1 || x.stride(0) == 1 || x.stride(1) == 1;
}

at::ScalarType panel_dtype(const BaseWeight& w) {
  const auto own = w.dtype();
  const bool reads = own == at::kFloat || own == at::kBFloat16 || own == at::kHalf;
  return reads && w.gives_views(own) ? own : at::kFloat;
}

bool lies_well(const at::Tensor& x) { return x.scalar_type() == at::kFloat && x.stride(0) % 1024 != 0; }

void for_tasks(std::int64_t tasks, const std::function<void(std::int64_t)>& f) {
  const std::int64_t workers = std::min<std::int64_t>(tasks, at::in_parallel_region() ? 1 : at::get_num_threads());
  std::atomic<std::int64_t> next{0};
  for_row_chunks(workers, 1, [&](std::int64_t, std::int64_t) {
    for (std::int64_t task = next++; task < tasks; task = next++) f(task);
  });
}

std::vector<Cut> cuts_of(const std::vector<std::int64_t>& columns, const std::vector<std::int64_t>& panels, std::int64_t width, std::int64_t tiles) {
  const std::int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  std::int64_t all = 0;
  for (const std::int64_t n : columns) all += ceil_div(n, width);
  // Few panels that the threads do not share evenly are shared by rows.
  const bool uneven = all < 8 * threads && all % threads != 0 && tiles >= 2 * threads;
  const std::int64_t groups = uneven ? threads : 1;
  std::vector<Cut> result;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const std::int64_t wide = ceil_div(columns[i], width);
    std::int64_t cuts = ceil_div(wide, panels[i]);
    if (!uneven) cuts = std::min(round_up(cuts, threads), wide);
    for (std::int64_t c = 0; c < cuts; ++c) {
      const std::int64_t begin = wide * c / cuts * width, end = std::min(wide * (c + 1) / cuts * width, columns[i]);
      for (std::int64_t g = 0; g < groups; ++g) result.push_back({i, begin, end - begin, tiles * g / groups, tiles * (g + 1) / groups});
    }
  }
  return result;
}

void pack_right(const MicroKernel& kernel, const at::Tensor& b, std::int64_t first, std::int64_t count, float scale,
                float* to) {
  const Source source = source_of(b, /*transposed=*/true);  // rows: columns of b
  for (std::int64_t column = 0; column < b.size(1); column += kernel.columns, to += count * kernel.columns) {
    kernel.pack(moved(source, column, first), std::min<std::int64_t>(kernel.columns, b.size(1) - column), count, scale,
                to, kernel.columns, kernel.columns);
  }
}

}  // namespace lowrank::kernels::gemm
