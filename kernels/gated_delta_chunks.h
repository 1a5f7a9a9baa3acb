// What the two passes of the gated delta rule share (gated_delta_rule.cpp has the algebra): the units of a key head, and
// the numbers of one chunk of one value head. Inside kernels/.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/gemm/product.h"
#include "lowrank/kernels/gemm/tiles.h"
#include "lowrank/kernels/linear_attention.h"
#include "lowrank/kernels/loops_state.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels::delta {

inline constexpr std::int64_t kChunk = 64;
inline constexpr std::int64_t kRowsAtOnce = 16;  // of a substitution
inline constexpr double kEps = 1e-6;

// out (+)= scale · a · b, of a chunk's size, in fp32 by the path in force.
inline void multiply(at::Tensor out, const at::Tensor& a, const at::Tensor& b, bool accumulate = false, float scale = 1) {
  if (gemm::takes(out.scalar_type(), gemm::kFewestRows)) return gemm::multiply_near(out, a, b, accumulate, scale);
  out.addmm_(a, b, accumulate ? 1 : 0, scale);
}

// The inputs of a call, contiguous.
struct Inputs {
  at::Tensor qkv, g, beta;  // g in what is computed in
  DeltaRuleShape shape;
  Segments segments;
};

// Rows [begin, begin + n) of a segment.
struct Chunk {
  std::int64_t begin, n;
};

// A key head in a segment: where its tokens begin, and its buffers. W is what is computed in, T the dtype of qkv.
template <typename T>
struct Task {
  using W = Wide<T>;
  const Inputs& in;
  std::int64_t segment, head, first, length;
  at::TensorOptions wide;
  at::Tensor units;    // [2 length, key_dim]: of each chunk its keys, then its queries
  at::Tensor inverse;  // [2 length], of the same rows

  Task(const Inputs& inputs, std::int64_t s, std::int64_t h)
      : in(inputs),
        segment(s),
        head(h),
        first(inputs.segments.q_offsets[s]),
        length(inputs.segments.q_length(s)),
        wide(inputs.g.options()),
        units(aten::empty({2 * length, inputs.shape.key_dim}, wide)),
        inverse(aten::empty({2 * length}, wide)) {
    for_chunks([&](const Chunk& c) {
      const std::int64_t dk = key_dim();
      W* const to = units.mutable_data_ptr<W>() + 2 * c.begin * dk;
      W* const lengths = inverse.mutable_data_ptr<W>() + 2 * c.begin;
      loops::unit_rows<T>(key(c), columns(), to, lengths, c.n, dk, kEps, 1);
      loops::unit_rows<T>(query(c), columns(), to + c.n * dk, lengths + c.n, c.n, dk, kEps, query_scale());
    });
  }

  std::int64_t key_dim() const { return in.shape.key_dim; }
  std::int64_t value_dim() const { return in.shape.value_dim; }
  std::int64_t columns() const { return in.shape.columns(); }
  std::int64_t group() const { return in.shape.value_heads / in.shape.key_heads; }
  double query_scale() const { return 1 / std::sqrt(static_cast<double>(key_dim())); }

  // Where a chunk's part of a row of qkv (or of its gradient) lies.
  std::int64_t query_at(const Chunk& c) const { return (first + c.begin) * columns() + head * key_dim(); }
  std::int64_t key_at(const Chunk& c) const { return query_at(c) + in.shape.key_columns(); }
  std::int64_t value_at(const Chunk& c, std::int64_t value_head) const {
    return (first + c.begin) * columns() + 2 * in.shape.key_columns() + value_head * value_dim();
  }
  const T* data() const { return in.qkv.const_data_ptr<T>(); }
  const T* query(const Chunk& c) const { return data() + query_at(c); }
  const T* key(const Chunk& c) const { return data() + key_at(c); }

  template <typename F>
  void for_chunks(const F& f) const {
    for (std::int64_t begin = 0; begin < length; begin += kChunk) f(Chunk{begin, std::min(kChunk, length - begin)});
  }
  at::Tensor units_of(const Chunk& c) const { return units.narrow(0, 2 * c.begin, 2 * c.n); }
};

// The numbers of a chunk of one value head, and room for its matrices.
template <typename T>
struct Work {
  using W = Wide<T>;
  const Task<T>& task;
  at::Tensor products, weighted, decay, by_state, values, weighted_keys;
  std::vector<W> gamma, e, rest, beta;  // running sum, its exponential, e^(γ_n − γ), β

  explicit Work(const Task<T>& t)
      : task(t),
        products(buffer(2 * kChunk, kChunk)),
        weighted(buffer(kChunk, kChunk)),
        decay(buffer(kChunk, kChunk)),
        by_state(buffer(2 * kChunk, t.value_dim())),
        values(buffer(kChunk, t.value_dim())),
        weighted_keys(buffer(kChunk, t.key_dim())),
        gamma(kChunk),
        e(kChunk),
        rest(kChunk),
        beta(kChunk) {}

  at::Tensor buffer(std::int64_t rows, std::int64_t width) const {
    return aten::empty({std::min(rows, 2 * task.length), width}, task.wide);
  }
  static at::Tensor rows(const at::Tensor& x, std::int64_t n) { return x.narrow(0, 0, n); }
  at::Tensor products_of(const Chunk& c) const {
    return products.view(-1).narrow(0, 0, 2 * c.n * c.n).view({2 * c.n, c.n});
  }
  static W decay_of(W logarithm) { return logarithm < loops::kNoDecay<W> ? W{0} : std::exp(logarithm); }
  W last_decay(const Chunk& c) const { return e[static_cast<std::size_t>(c.n - 1)]; }

  void read(const Chunk& c, std::int64_t value_head) {
    const std::int64_t heads = task.in.shape.value_heads, at = (task.first + c.begin) * heads + value_head;
    const W* const g = task.in.g.template const_data_ptr<W>() + at;
    const T* const b = task.in.beta.template const_data_ptr<T>() + at;
    W sum = 0;
    for (std::int64_t i = 0; i < c.n; ++i) {
      sum += g[i * heads];
      gamma[i] = sum;
      e[i] = decay_of(sum);
      beta[i] = static_cast<W>(b[i * heads]);
    }
    for (std::int64_t i = 0; i < c.n; ++i) rest[i] = decay_of(sum - gamma[i]);
    loops::widen_rows<T>(task.data() + task.value_at(c, value_head), task.columns(), values.mutable_data_ptr<W>(), c.n,
                         task.value_dim());
  }

  // a over p, [2n, n].
  at::Tensor make_products(const Chunk& c) {
    const at::Tensor both = products_of(c), units = task.units_of(c);
    multiply(both, units, units.narrow(0, 0, c.n).t());
    loops::decay_products(both.mutable_data_ptr<W>(), decay.mutable_data_ptr<W>(), gamma.data(), c.n);
    loops::scale_rows(both.const_data_ptr<W>(), beta.data(), weighted.mutable_data_ptr<W>(), c.n, c.n);
    return both;
  }
  // β a, [n, n]: of make_products.
  at::Tensor weighted_products(const Chunk& c) const {
    return weighted.view(-1).narrow(0, 0, c.n * c.n).view({c.n, c.n});
  }
  // K S over Q S, [2n, value_dim].
  at::Tensor make_by_state(const Chunk& c, const at::Tensor& state) {
    const at::Tensor both = rows(by_state, 2 * c.n);
    multiply(both, task.units_of(c), state);
    return both;
  }
  at::Tensor make_weighted_keys(const Chunk& c) {
    const at::Tensor result = rows(weighted_keys, c.n);
    loops::scale_rows(task.units_of(c).template const_data_ptr<W>(), rest.data(), result.mutable_data_ptr<W>(), c.n,
                      task.key_dim());
    return result;
  }
  // X into `x` [n, value_dim].
  void solve(const Chunk& c, const at::Tensor& ks, const at::Tensor& x) {
    loops::delta_residual(values.const_data_ptr<W>(), ks.const_data_ptr<W>(), e.data(), beta.data(),
                          x.mutable_data_ptr<W>(), c.n, task.value_dim());
    substitute(c, x);
  }
  // x [n, value_dim] becomes (1 + β a)⁻¹ x, some rows at a time: what those before them take away is a product.
  void substitute(const Chunk& c, const at::Tensor& x) const {
    const at::Tensor a = weighted_products(c);
    for (std::int64_t i = 0; i < c.n; i += kRowsAtOnce) {
      const std::int64_t rows = std::min(kRowsAtOnce, c.n - i);
      const at::Tensor some = x.narrow(0, i, rows);
      if (i > 0) multiply(some, a.narrow(0, i, rows).narrow(1, 0, i), x.narrow(0, 0, i), /*accumulate=*/true, -1);
      loops::substitute(a.const_data_ptr<W>() + i * c.n + i, c.n, some.mutable_data_ptr<W>(), rows, task.value_dim());
    }
  }
  // x becomes (1 + β a)⁻ᵀ x.
  void substitute_transposed(const Chunk& c, const at::Tensor& x) const {
    const at::Tensor a = weighted_products(c);
    for (std::int64_t i = (c.n - 1) / kRowsAtOnce * kRowsAtOnce; i >= 0; i -= kRowsAtOnce) {
      const std::int64_t rows = std::min(kRowsAtOnce, c.n - i), later = i + rows;
      const at::Tensor some = x.narrow(0, i, rows);
      if (later < c.n) {
        multiply(some, a.narrow(0, later, c.n - later).narrow(1, i, rows).t(), x.narrow(0, later, c.n - later),
                 /*accumulate=*/true, -1);
      }
      loops::substitute_transposed(a.const_data_ptr<W>() + i * c.n + i, c.n, some.mutable_data_ptr<W>(), rows, task.value_dim());
    }
  }
  // `after` may be `state` itself.
  void advance(const Chunk& c, const at::Tensor& state, const at::Tensor& x, at::Tensor after) {
    if (!after.is_same(state)) after.copy_(state);
    multiply(after.mul_(last_decay(c)), make_weighted_keys(c).t(), x, /*accumulate=*/true);
  }
};

template <typename F>
void for_tasks(const Inputs& in, const F& f) {
  for_row_chunks(in.segments.count() * in.shape.key_heads, 1, [&](std::int64_t i, std::int64_t) {
    const std::int64_t segment = i / in.shape.key_heads, head = i % in.shape.key_heads;
    if (in.segments.q_length(segment) > 0) f(segment, head);
  });
}

struct Gradients {
  at::Tensor qkv, g, beta;  // of Inputs
};
/// `gradient` [T, value_heads, value_dim], contiguous: of what came out. States and X are made again.
Gradients backward_pass(const Inputs& in, const at::Tensor& gradient);

}  // namespace lowrank::kernels::delta
