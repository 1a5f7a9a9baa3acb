#include "lowrank/kernels/gemm.h"

#include <algorithm>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/packed_weight.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kMostRows = 256;    // of a tile: MKL packs the weight anew for every tile
constexpr std::int64_t kPanel = 64;        // columns of such a cut
constexpr std::int64_t kWidePanel = 1024;  // columns a task of a product that is much wider than high

bool packs(at::ScalarType dtype, std::int64_t rows) {
  if (rows <= kFewRows) return false;
  switch (gemm_path()) {
    case GemmPath::kPlain:
      return false;
    case GemmPath::kPacked:
      return dtype == at::kFloat;
    case GemmPath::kNativeBf16:
      return dtype == at::kBFloat16 || dtype == at::kFloat;
  }
  return false;
}

}  // namespace

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
  at::Tensor result = aten::empty(x.sizes(), x.options().dtype(dtype));
  for_row_chunks(x.size(0), 64, [&](std::int64_t begin, std::int64_t end) {
    result.narrow(0, begin, end - begin).copy_(x.narrow(0, begin, end - begin));
  });
  return result;
}

Factor Factor::of_transposed(const at::Tensor& w, at::ScalarType dtype, std::int64_t rows) {
  Factor f;
  const at::Tensor dense = converted(w, dtype);
  if (packs(dtype, rows)) f.packed_ = pack_weight(dense.contiguous(), rows);
  if (!f.packed_.defined()) f.dense_ = dense.t();
  return f;
}

Factor Factor::of(const at::Tensor& w, at::ScalarType dtype, std::int64_t rows) {
  Factor f;
  const at::Tensor dense = converted(w, dtype);
  if (packs(dtype, rows)) f.packed_ = pack_weight(dense.t().contiguous(), rows);
  if (!f.packed_.defined()) f.dense_ = dense;
  return f;
}

void Factor::multiply(at::Tensor out, const at::Tensor& x, bool accumulate) const {
  if (packed_.defined()) {
    const at::Tensor product = packed_product(x, packed_);
    if (accumulate) {
      out.add_(product);
    } else {
      out.copy_(product);
    }
  } else if (accumulate) {
    out.addmm_(x, dense_);
  } else {
    aten::mm_out(out, x, dense_);
  }
}

void multiply_transposed(at::Tensor out, const at::Tensor& x, const at::Tensor& w) {
  const std::int64_t rows = x.size(0), columns = w.size(0);
  const auto dtype = out.scalar_type();
  const at::Tensor left = converted(x, dtype);
  const std::int64_t panel = rows <= kFewRows ? kPanel : std::min(kWidePanel, block_count(w.size(1)));
  for_row_chunks(columns, panel, [&](std::int64_t begin, std::int64_t end) {
    const Factor factor = Factor::of_transposed(w.narrow(0, begin, end - begin), dtype, rows);
    factor.multiply(out.narrow(1, begin, end - begin), left);
  });
}

void multiply(at::Tensor out, const at::Tensor& g, const at::Tensor& w) {
  const std::int64_t rows = g.size(0), inner = w.size(0), columns = w.size(1);
  const auto dtype = out.scalar_type();
  const at::Tensor left = converted(g, dtype);
  const std::int64_t tile = tile_rows(rows), block = block_count(columns);
  // A weight in the right dtype goes in whole; another is converted a block of rows at a time, the products added up.
  const std::int64_t step = w.scalar_type() == dtype && gemm_path() == GemmPath::kPlain ? inner : block;
  for (std::int64_t k = 0; k < inner; k += step) {
    const std::int64_t n = std::min(step, inner - k);
    const Factor factor = Factor::of(w.narrow(0, k, n), dtype, rows);
    for_row_chunks(rows, tile, [&](std::int64_t begin, std::int64_t end) {
      factor.multiply(out.narrow(0, begin, end - begin), left.narrow(0, begin, end - begin).narrow(1, k, n), k > 0);
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
