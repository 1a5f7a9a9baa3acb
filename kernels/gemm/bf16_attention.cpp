// One head of attention over one segment with operands in bf16: scores and sums are fp32, probabilities and their gradients bf16
// where they are multiplied.
#include <algorithm>

#include "lowrank/kernels/gemm/attention_rows.h"
#include "lowrank/kernels/gemm/bf16_kernel.h"
#include "lowrank/kernels/gemm/panels.h"
#include "lowrank/kernels/gemm/tiles.h"

namespace lowrank::kernels::gemm {
namespace {

constexpr std::int64_t kTile = kBf16Rows;      // queries
constexpr std::int64_t kQueries = 4 * kTile;   // whose probabilities the backward pass holds
static_assert(kBf16Rows == kBf16Columns && kBf16Rows == kBf16Steps);

std::int64_t whole(std::int64_t n) { return round_up(n, kTile); }
// Elements from row to row of what is read as rows: not a power of two apart.
std::int64_t apart(std::int64_t n) { return whole(n) + kTile; }

Bf16* place_of(const at::Tensor& x) { return static_cast<Bf16*>(x.mutable_data_ptr()); }
Bf16* elements(Arena& arena, std::int64_t n) { return reinterpret_cast<Bf16*>(arena.take((n + 1) / 2)); }

// x [n, width] as a right operand: its rows are the columns.
void pack_rows(const Bf16Kernel& kernel, const at::Tensor& x, Bf16* to) {
  const std::int64_t n = x.size(0), width = x.size(1);
  for (std::int64_t i = 0; i < n; i += kTile, to += kTile * whole(width))
    kernel.pack_columns(bits_of(x) + i * x.stride(0), x.stride(0), std::min(kTile, n - i), width, to);
}

// The same where its rows are the steps.
void pack_steps(const Bf16Kernel& kernel, const at::Tensor& x, Bf16* to) {
  const std::int64_t n = x.size(0), width = x.size(1);
  for (std::int64_t j = 0; j < width; j += kTile, to += kTile * whole(n))
    kernel.pack_steps(bits_of(x) + j, x.stride(0), std::min(kTile, width - j), n, to);
}

// xᵀ [whole(width)] rows of apart(n) elements, zeros beyond.
void turn(const at::Tensor& x, Bf16* to) {
  const std::int64_t n = x.size(0), width = x.size(1), row = apart(n);
  std::fill_n(to, whole(width) * row, Bf16{0});
  const Bf16* from = bits_of(x);
  for (std::int64_t i = 0; i < n; ++i, from += x.stride(0))
    for (std::int64_t j = 0; j < width; ++j) to[j * row + i] = from[j];
}

// A tile of rows from `begin` on as a left operand: as they lie, or with zeros to whole tiles in `memory`.
Bf16Range rows_of(const at::Tensor& x, std::int64_t begin, std::int64_t n, Bf16* memory) {
  const std::int64_t width = x.size(1), steps = whole(width);
  const Bf16* from = bits_of(x) + begin * x.stride(0);
  if (n == kTile && width == steps) return {steps, from, x.stride(0), nullptr};
  for (std::int64_t i = 0; i < kTile; ++i, from += x.stride(0)) {
    Bf16* const row = memory + i * steps;
    if (i < n) std::copy_n(from, width, row);
    std::fill(row + (i < n ? width : 0), row + steps, Bf16{0});
  }
  return {steps, memory, steps, nullptr};
}

// scores [kTile, last - first) of a tile against the panels of keys (or values) from `first` on.
void score(const Bf16Kernel& kernel, Bf16Range left, const Bf16* panels, const Seen& at, float* scores, std::int64_t step) {
  for (std::int64_t key = at.first; key < at.last; key += kTile) {
    left.b = panels + key * left.k;
    kernel.tile(&left, 1, scores + key - at.first, step, false);
  }
}

// A row [columns] as bf16, with zeros before it and up to `width`.
void round_row(const Bf16Kernel& kernel, const float* row, std::int64_t before, std::int64_t columns, std::int64_t width, Bf16* to) {
  std::fill_n(to, before, Bf16{0});
  kernel.split(row, columns, 1, to + before, 0, 1);
  std::fill(to + before + columns, to + width, Bf16{0});
}

float dot(const Bf16* a, const Bf16* b, std::int64_t n) {
  float sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += widened(a[i]) * widened(b[i]);
  return sum;
}

// to [m, width] += xᵀ for x of rows of `row` floats.
void add_turned(const float* x, std::int64_t row, const at::Tensor& to) {
  constexpr std::int64_t kBlock = 16;
  const std::int64_t m = to.size(0), width = to.size(1), step = to.stride(0);
  float* const data = to.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < m; i += kBlock)
    for (std::int64_t j = 0; j < width; ++j)
      for (std::int64_t k = i; k < std::min(i + kBlock, m); ++k) data[k * step + j] += x[j * row + k];
}

}  // namespace

void attention_forward_bf16(const AttentionHead& head, const at::Tensor& out, float* lse) {
  const Bf16Kernel& kernel = *bf16_kernel();
  const std::int64_t n = head.q.size(0), m = head.k.size(0), d = head.q.size(1), width = head.v.size(1);
  const std::int64_t step = whole(m) + 16, p_row = apart(m);
  Arena arena((whole(m) * (whole(d) + whole(width)) + kTile * (whole(d) + p_row)) / 2 + kTile * step + 128);
  Bf16 *const keys = elements(arena, whole(m) * whole(d)), *const values = elements(arena, whole(m) * whole(width));
  Bf16 *const query = elements(arena, kTile * whole(d)), *const p = elements(arena, kTile * p_row);
  float* const scores = arena.take(kTile * step);
  pack_rows(kernel, head.k, keys);
  pack_steps(kernel, head.v, values);
  alignas(64) float result[kTile * kTile];
  float sums[kTile];
  kernel.begin();
  for (std::int64_t begin = 0; begin < n; begin += kTile) {
    const std::int64_t rows = std::min(kTile, n - begin);
    const Seen at = seen(head, kTile, begin, begin + rows);
    const std::int64_t columns = at.last - at.first;
    score(kernel, rows_of(head.q, begin, rows, query), keys, at, scores, step);
    for (std::int64_t r = 0; r < kTile; ++r) {
      if (r < rows) lse[begin + r] = soften(head, begin + r, at.first, columns, scores + r * step, sums + r);
      round_row(kernel, scores + r * step, 0, r < rows ? columns : 0, whole(columns), p + r * p_row);
    }
    for (std::int64_t j = 0; j < width; j += kTile) {
      const Bf16Range range{whole(columns), p, p_row, values + j * whole(m) + at.first * kTile};
      kernel.tile(&range, 1, result, kTile, false);
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < kTile; ++c) result[r * kTile + c] /= sums[r];
      kernel.store(result, rows, std::min(kTile, width - j), nullptr, place_of(out) + begin * out.stride(0) + j, out.stride(0));
    }
  }
  kernel.end();
}

void attention_backward_bf16(const AttentionHead& head, const at::Tensor& g, const at::Tensor& out, const float* lse,
                             const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& dv, float* deltas) {
  const Bf16Kernel& kernel = *bf16_kernel();
  const std::int64_t n = head.q.size(0), m = head.k.size(0), d = head.q.size(1), width = head.v.size(1);
  const std::int64_t step = whole(m) + 16, p_row = apart(m), turned_row = apart(n);
  const std::int64_t d_whole = whole(d), v_whole = whole(width);
  Arena arena((whole(m) * (2 * d_whole + v_whole) + kTile * (d_whole + v_whole) + 2 * kQueries * p_row + (d_whole + v_whole) * turned_row +
               2 * kQueries * kTile) / 2 + 2 * kTile * step + (d_whole + v_whole) * step + 256);
  Bf16 *const keys = elements(arena, whole(m) * d_whole), *const values = elements(arena, whole(m) * v_whole),
              *const key_steps = elements(arena, whole(m) * d_whole);
  Bf16 *const query = elements(arena, kTile * d_whole), *const gradient = elements(arena, kTile * v_whole);
  Bf16 *const p = elements(arena, kQueries * p_row), *const ds = elements(arena, kQueries * p_row);
  Bf16 *const turned_q = elements(arena, d_whole * turned_row), *const turned_g = elements(arena, v_whole * turned_row);
  Bf16 *const p_panel = elements(arena, kQueries * kTile), *const ds_panel = elements(arena, kQueries * kTile);
  float *const p_rows = arena.take(kTile * step), *const ds_rows = arena.take(kTile * step);
  float *const turned_dk = arena.take(d_whole * step), *const turned_dv = arena.take(v_whole * step);
  pack_rows(kernel, head.k, keys);
  pack_rows(kernel, head.v, values);
  pack_steps(kernel, head.k, key_steps);
  turn(head.q, turned_q);
  turn(g, turned_g);
  std::fill_n(turned_dk, d_whole * step, 0.0F);
  std::fill_n(turned_dv, v_whole * step, 0.0F);
  alignas(64) float result[kTile * kTile];

  kernel.begin();
  for (std::int64_t begin = 0; begin < n; begin += kQueries) {
    const std::int64_t rows = std::min(kQueries, n - begin);
    const Seen all = seen(head, kTile, begin, begin + rows);
    const std::int64_t all_columns = whole(all.last - all.first);
    for (std::int64_t first_row = 0; first_row < rows; first_row += kTile) {
      const std::int64_t count = std::min(kTile, rows - first_row), first = begin + first_row;
      const Seen at = seen(head, kTile, first, first + count);
      const std::int64_t columns = at.last - at.first, before = at.first - all.first;
      score(kernel, rows_of(head.q, first, count, query), keys, at, p_rows, step);
      score(kernel, rows_of(g, first, count, gradient), values, at, ds_rows, step);
      for (std::int64_t r = 0; r < kTile; ++r) {
        float *const p_row_of = p_rows + r * step, *const ds_row_of = ds_rows + r * step;
        if (r < count) {
          const std::int64_t i = first + r;
          const float delta = dot(bits_of(g) + i * g.stride(0), bits_of(out) + i * out.stride(0), width);
          if (deltas != nullptr) deltas[i] = delta;
          soften_backward(head, i, at.first, columns, lse[i], delta, p_row_of, ds_row_of);
        }
        round_row(kernel, p_row_of, before, r < count ? columns : 0, all_columns, p + (first_row + r) * p_row);
        round_row(kernel, ds_row_of, before, r < count ? columns : 0, all_columns, ds + (first_row + r) * p_row);
      }
      for (std::int64_t j = 0; j < d; j += kTile) {
        const Bf16Range range{whole(columns), ds + first_row * p_row + before, p_row, key_steps + j * whole(m) + at.first * kTile};
        kernel.tile(&range, 1, result, kTile, false);
        kernel.store(result, count, std::min(kTile, d - j), nullptr, place_of(dq) + first * dq.stride(0) + j, dq.stride(0));
      }
    }
    for (std::int64_t key = 0; key < all_columns; key += kTile) {
      // Queries before the first of these keys do not see them.
      const std::int64_t from = std::clamp<std::int64_t>(all.first + key - head.offset - begin, 0, rows) / kTile * kTile;
      const std::int64_t steps = whole(rows) - from;
      if (steps <= 0) continue;
      kernel.pack_steps(p + from * p_row + key, p_row, kTile, steps, p_panel);
      kernel.pack_steps(ds + from * p_row + key, p_row, kTile, steps, ds_panel);
      for (std::int64_t j = 0; j < v_whole; j += kTile) {
        const Bf16Range range{steps, turned_g + j * turned_row + begin + from, turned_row, p_panel};
        kernel.tile(&range, 1, turned_dv + j * step + all.first + key, step, true);
      }
      for (std::int64_t j = 0; j < d_whole; j += kTile) {
        const Bf16Range range{steps, turned_q + j * turned_row + begin + from, turned_row, ds_panel};
        kernel.tile(&range, 1, turned_dk + j * step + all.first + key, step, true);
      }
    }
  }
  kernel.end();
  add_turned(turned_dk, step, dk);
  add_turned(turned_dv, step, dv);
}

}  // namespace lowrank::kernels::gemm
