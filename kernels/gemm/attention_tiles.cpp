#include "lowrank/kernels/gemm/attention_tiles.h"

#include <algorithm>
#include <cstring>

#include "lowrank/kernels/gemm/attention_rows.h"
#include "lowrank/kernels/gemm/micro.h"
#include "lowrank/kernels/gemm/panels.h"
#include "lowrank/kernels/gemm/tiles.h"
#include "lowrank/kernels/loops.h"

namespace lowrank::kernels::gemm {

namespace {

// Of queries, whose probabilities the backward pass holds: two such matrices for 512 keys stay in the second cache.
constexpr std::int64_t kQueryPanels = 8;

// Rows [begin, begin + n) of x as they lie, or packed into `memory`.
LeftRows left_rows(const MicroKernel& kernel, const at::Tensor& x, std::int64_t begin, std::int64_t n, float* memory) {
  if (lies_well(x)) return by_row(x.const_data_ptr<float>() + begin * x.stride(0), x.stride(0));
  kernel.pack(moved(source_of(x), begin, 0), n, x.size(1), 1, memory, n, kernel.rows);
  return by_step(memory, kernel.rows);
}

// Floats from row to row of scores against m keys: rows lie on lines of their own, and do not meet in the cache.
std::int64_t scores_step(std::int64_t m) { return round_up(m, 32) + 16; }

// Rows [begin, begin + n) of `to` [., columns] in its dtype, from fp32.
void store_rows(const MicroKernel& kernel, const float* from, std::int64_t step, std::int64_t n, std::int64_t columns,
                const at::Tensor& to, std::int64_t begin) {
  for (std::int64_t r = 0; r < n; ++r) {
    const std::int64_t at = (begin + r) * to.stride(0);
    if (to.scalar_type() == at::kFloat) {
      std::memcpy(to.mutable_data_ptr<float>() + at, from + r * step, static_cast<std::size_t>(columns) * sizeof(float));
    } else {
      kernel.round_row(from + r * step, columns, static_cast<std::uint16_t*>(to.mutable_data_ptr()) + at);
    }
  }
}

// Rows [begin, begin + n) of out from sums [., wide] that their factors are still missing from.
void store_result(const MicroKernel& kernel, float* result, std::int64_t wide, const float* sums, const at::Tensor& out, std::int64_t begin,
                  std::int64_t n) {
  for (std::int64_t r = 0; r < n; ++r) {
    const float factor = 1 / sums[r];
    for (std::int64_t j = 0; j < out.size(1); ++j) result[r * wide + j] *= factor;
  }
  store_rows(kernel, result, wide, n, out.size(1), out, begin);
}

}  // namespace

void attention_forward(const AttentionHead& head, const at::Tensor& out, float* lse) {
  const MicroKernel& kernel = micro_kernel();
  const std::int64_t n = head.q.size(0), m = head.k.size(0), d = head.q.size(1), dv = head.v.size(1);
  const std::int64_t step = scores_step(m), wide = round_up(dv, kernel.columns), height = kernel.rows;
  Arena arena(panels_size(kernel, d, m) + panels_size(kernel, m, dv) + round_up(d * kernel.rows, 16) +
              height * (step + wide) + 64);
  const Panels keys = packed(kernel, arena, head.k.t()), values = packed(kernel, arena, head.v);
  float *const query = arena.take(d * kernel.rows), *const scores = arena.take(height * step),
        *const result = arena.take(height * wide);
  for (std::int64_t begin = 0; begin < n; begin += height) {
    const std::int64_t rows = std::min(height, n - begin);
    const Seen at = seen(head, kernel.columns, begin, begin + rows);
    const std::int64_t columns = at.last - at.first;
    product(kernel, left_rows(kernel, head.q, begin, rows, query), keys, 0, d, rows, at.first, at.last, scores - at.first, step);
    float sums[16];
    for (std::int64_t r = 0; r < rows; ++r) lse[begin + r] = soften(head, begin + r, at.first, columns, scores + r * step, sums + r);
    product(kernel, by_row(scores, step), values, at.first, at.last, rows, 0, dv, result, wide);
    store_result(kernel, result, wide, sums, out, begin, rows);
  }
}

void attention_forward_few(const AttentionHead& head, const at::Tensor& out, float* lse) {
  const MicroKernel& kernel = micro_kernel();
  const std::int64_t n = head.q.size(0), d = head.q.size(1), dv = head.v.size(1), height = kernel.rows;
  const std::int64_t first = first_key(head, 0, 0), columns = head.k.size(0) - first;
  const std::int64_t step = scores_step(columns), wide = round_up(dv, kernel.columns);
  const at::Tensor q = head.q.to(at::kFloat), values = head.v.narrow(0, first, columns);
  // Whole vectors are read: as they lie only where the last of a row is one.
  const bool lies = values.scalar_type() == at::kFloat && dv % (kernel.columns / 2) == 0;
  Arena arena((lies ? 0 : panels_size(kernel, columns, dv)) + n * step + height * wide + 64);
  float *const scores = arena.take(n * step), *const result = arena.take(height * wide);
  const Source keys = moved(source_of(head.k), first, 0);
  kernel.dots({.x = q.const_data_ptr<float>(), .x_step = q.stride(0), .w = keys.data, .element = keys.element, .w_step = keys.row_step,
               .y = scores, .y_step = step, .rows = n, .columns = columns, .inner = d});
  const Panels panels = lies ? Panels{values.const_data_ptr<float>(), 1, values.stride(0)} : packed(kernel, arena, values);
  for (std::int64_t begin = 0; begin < n; begin += height) {
    const std::int64_t rows = std::min(height, n - begin);
    float* const some = scores + begin * step;
    float sums[16];
    for (std::int64_t r = 0; r < rows; ++r) lse[begin + r] = soften(head, begin + r, first, columns, some + r * step, sums + r);
    product(kernel, by_row(some, step), panels, 0, columns, rows, 0, dv, result, wide);
    store_result(kernel, result, wide, sums, out, begin, rows);
  }
}

void attention_backward(const AttentionHead& head, const at::Tensor& g, const at::Tensor& out, const float* lse,
                        const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& dv, float* deltas) {
  const MicroKernel& kernel = micro_kernel();
  const std::int64_t n = head.q.size(0), m = head.k.size(0), d = head.q.size(1), width = head.v.size(1);
  const std::int64_t step = scores_step(m), height = kernel.rows, wide = round_up(d, kernel.columns);
  const std::int64_t block = std::min(kQueryPanels * height, round_up(n, height));
  Arena arena(panels_size(kernel, d, m) + panels_size(kernel, width, m) + panels_size(kernel, m, d) +
              round_up(d * kernel.rows, 16) + round_up(width * kernel.rows, 16) + 2 * block * step +
              panels_size(kernel, block, d) + panels_size(kernel, block, width) + height * wide + 256);
  const Panels keys = packed(kernel, arena, head.k.t()), values = packed(kernel, arena, head.v.t()),
               key_rows = packed(kernel, arena, head.k);
  float *const query = arena.take(d * kernel.rows), *const gradient = arena.take(width * kernel.rows);
  float *const p = arena.take(block * step), *const ds = arena.take(block * step);
  float *const query_rows = arena.take(panels_size(kernel, block, d)),
               *const gradient_rows = arena.take(panels_size(kernel, block, width));
  float* const result = arena.take(height * wide);
  float* const dk_data = dk.mutable_data_ptr<float>();
  float* const dv_data = dv.mutable_data_ptr<float>();

  for (std::int64_t begin = 0; begin < n; begin += block) {
    const std::int64_t rows = std::min(block, n - begin);
    const Seen all = seen(head, kernel.columns, begin, begin + rows);
    const std::int64_t columns = all.last - all.first;
    for (std::int64_t first_row = 0; first_row < rows; first_row += height) {
      const std::int64_t count = std::min(height, rows - first_row), first = begin + first_row;
      const Seen at = seen(head, kernel.columns, first, first + count);
      float *const p_rows = p + first_row * step, *const ds_rows = ds + first_row * step;
      product(kernel, left_rows(kernel, head.q, first, count, query), keys, 0, d, count, at.first, at.last,
              p_rows - all.first, step);
      product(kernel, left_rows(kernel, g, first, count, gradient), values, 0, width, count, at.first, at.last,
              ds_rows - all.first, step);
      for (std::int64_t r = 0; r < count; ++r) {
        const std::int64_t i = first + r;
        const float delta = loops::dot(g.const_data_ptr<float>() + i * g.stride(0),
                                       out.const_data_ptr<float>() + i * out.stride(0), width);
        if (deltas != nullptr) deltas[i] = delta;
        float *const p_row = p_rows + r * step, *const ds_row = ds_rows + r * step;
        soften_backward(head, i, all.first, columns, lse[i], delta, p_row, ds_row);
      }
      product(kernel, by_row(ds_rows + at.first - all.first, step), key_rows, at.first, at.last, count, 0, d, result, wide);
      store_rows(kernel, result, wide, count, d, dq, first);
    }
    pack_right(kernel, head.q.narrow(0, begin, rows), 0, rows, 1, query_rows);
    pack_right(kernel, g.narrow(0, begin, rows), 0, rows, 1, gradient_rows);
    for (std::int64_t key = 0; key < columns; key += height) {
      const std::int64_t count = std::min(height, columns - key);
      // Queries before the first of these keys do not see them.
      const std::int64_t from = std::clamp<std::int64_t>(all.first + key - head.offset - begin, 0, rows);
      product(kernel, by_step(p + from * step + key, step), {gradient_rows, rows, kernel.columns}, from, rows, count, 0, width,
              dv_data + (all.first + key) * dv.stride(0), dv.stride(0), /*accumulate=*/true);
      product(kernel, by_step(ds + from * step + key, step), {query_rows, rows, kernel.columns}, from, rows, count, 0, d,
              dk_data + (all.first + key) * dk.stride(0), dk.stride(0), /*accumulate=*/true);
    }
  }
}

}  // namespace lowrank::kernels::gemm
