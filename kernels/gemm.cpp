#include "lowrank/kernels/gemm.h"

#include <algorithm>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/gemm/few_rows.h"
#include "lowrank/kernels/gemm/product.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kMostRows = 256;    // of a tile: MKL packs the weight anew for every tile
constexpr std::int64_t kPanel = 64;        // columns of such a cut
constexpr std::int64_t kWidePanel = 1024;  // columns a task of a product that is much wider than high

}  // namespace

at::ScalarType product_dtype(at::ScalarType dtype) { return dtype == at::kBFloat16 ? at::kFloat : dtype; }

std::int64_t tile_rows(std::int64_t rows) {
  std::int64_t tiles = (rows + kMostRows - 1) / kMostRows;
  if (rows > kFewRows) tiles += tiles % 2;
  const std::int64_t tile = (rows + tiles - 1) / std::max<std::int64_t>(tiles, 1);
  return std::max<std::int64_t>((tile + 7) / 8 * 8, 8);
}

std::int64_t block_count(std::int64_t length) {
  return std::max<std::int64_t>(kBlockElements / std::max<std::int64_t>(length, 1) / 64 * 64, 64);
}

at::Tensor converted(const at::Tensor& x, at::ScalarType dtype) {
  if (x.scalar_type() == dtype && (x.stride(1) == 1 || x.size(1) == 1)) return x;
  if (!x.is_cpu()) return x.to(dtype).contiguous();
  at::Tensor result = aten::empty(x.sizes(), x.options().dtype(dtype));
  for_row_chunks(x.size(0), 64, [&](std::int64_t begin, std::int64_t end) {
    result.narrow(0, begin, end - begin).copy_(x.narrow(0, begin, end - begin));
  });
  return result;
}

void multiply_tile(at::Tensor out, const at::Tensor& x, const at::Tensor& w, bool accumulate) {
  if (accumulate) {
    out.addmm_(x, w);
  } else {
    aten::mm_out(out, x, w);
  }
}

void multiply_transposed(at::Tensor out, const at::Tensor& x, const BaseWeight& w) {
  if (gemm::takes(out.scalar_type(), x.size(0))) {
    return gemm::multiply(out, x, gemm::Right::of_transposed(w));
  }
  if (gemm::takes_few(out.scalar_type(), x.size(0))) return gemm::multiply_few(out, x, w);
  const std::int64_t rows = x.size(0), columns = w.out_features();
  const auto dtype = out.scalar_type();
  const at::Tensor left = converted(x, dtype);
  const std::int64_t panel = rows <= kFewRows ? kPanel : std::min(kWidePanel, block_count(w.in_features()));
  for_row_chunks(columns, panel, [&](std::int64_t begin, std::int64_t end) {
    multiply_tile(out.narrow(1, begin, end - begin), left, w.rows(begin, end - begin, dtype).t());
  });
}

void multiply(at::Tensor out, const at::Tensor& g, const BaseWeight& w, bool rounds) {
  if (gemm::takes(out.scalar_type(), g.size(0))) {
    return gemm::multiply(out, g, gemm::Right::of(w), rounds);
  }
  const std::int64_t rows = g.size(0), inner = w.out_features(), columns = w.in_features();
  const auto dtype = out.scalar_type();
  const at::Tensor left = converted(g, dtype);
  const std::int64_t tile = tile_rows(rows), block = block_count(columns);
  // A weight in the right dtype goes in whole; another is converted a block of rows at a time, the products added up.
  const std::int64_t step = w.gives_views(dtype) && gemm_path() == GemmPath::kPlain ? inner : block;
  for (std::int64_t k = 0; k < inner; k += step) {
    const std::int64_t n = std::min(step, inner - k);
    const at::Tensor right = w.rows(k, n, dtype);
    for_row_chunks(rows, tile, [&](std::int64_t begin, std::int64_t end) {
      multiply_tile(out.narrow(0, begin, end - begin), left.narrow(0, begin, end - begin).narrow(1, k, n), right, k > 0);
    });
  }
  if (inner == 0) out.zero_();
}

void multiply_outer(at::Tensor out, const at::Tensor& x, const at::Tensor& y, double scale, bool accumulate) {
  const auto dtype = out.scalar_type();
  const at::Tensor right = converted(y, dtype);
  for_row_chunks(x.size(1), 64, [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor left = converted(x.narrow(1, begin, end - begin), dtype);
    out.narrow(0, begin, end - begin).addmm_(left.t(), right, accumulate ? 1 : 0, scale);
  });
}

}  // namespace lowrank::kernels
