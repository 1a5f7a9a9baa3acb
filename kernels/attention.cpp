// Causal attention over segments in blocks of 128 queries: scores exist for one block of one head at a time, blocks
// beyond the diagonal and outside the window are not computed, key and value heads are shared by their group without
// copies. Kept for the backward pass: the output and each row's log-sum-exp, from which a block's probabilities are
// made again (Dao et al. 2022, in the form that suits GEMM libraries).

#include <algorithm>
#include <cmath>
#include <string>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/gemm/attention_tiles.h"
#include "lowrank/kernels/gemm/few_rows.h"
#include "lowrank/kernels/gemm/product.h"
#include "lowrank/kernels/loops.h"
#include "lowrank/kernels/on_device.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/profile.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kBlock = 128;

struct Shape {
  Segments segments;
  AttentionOptions options;
  std::int64_t heads = 0, kv_heads = 0;
  std::int64_t group() const { return heads / kv_heads; }
};

// One head of one segment.
struct Task {
  std::int64_t segment, head;
};

// Queries [begin, end) of a segment against its keys [first, last); row i sees keys [seen_first(i), seen_last(i)).
struct Block {
  std::int64_t begin, end, first, last;
  std::int64_t offset;  // position of the segment's first query
  std::optional<std::int64_t> window;

  std::int64_t seen_last(std::int64_t i) const { return offset + i + 1 - first; }
  std::int64_t seen_first(std::int64_t i) const {
    return window ? std::max<std::int64_t>(offset + i + 1 - *window - first, 0) : 0;
  }
  std::int64_t rows() const { return end - begin; }
  std::int64_t columns() const { return last - first; }
};

template <typename F>
void for_blocks(const Shape& shape, std::int64_t segment, const F& f) {
  const std::int64_t queries = shape.segments.q_length(segment), offset = shape.segments.k_length(segment) - queries;
  for (std::int64_t begin = 0; begin < queries; begin += kBlock) {
    Block b{begin, std::min(queries, begin + kBlock), 0, 0, offset, shape.options.window};
    b.last = offset + b.end;
    if (b.window) b.first = std::max<std::int64_t>(offset + begin + 1 - *b.window, 0);
    f(b);
  }
}

template <typename F>
void for_tasks(const Shape& shape, const F& f) {
  const std::int64_t tasks = shape.segments.count() * shape.heads;
  for_row_chunks(tasks, 1, [&](std::int64_t task, std::int64_t) { f(Task{task / shape.heads, task % shape.heads}); });
}

// The keys, or the values, of each segment, [Tk_s, Hkv, d].
std::vector<at::Tensor> by_segment(const at::Tensor& x, const Segments& segments) {
  std::vector<at::Tensor> result;
  for (std::int64_t s = 0; s < segments.count(); ++s) {
    result.push_back(x.narrow(0, segments.k_offsets[s], segments.k_length(s)));
  }
  return result;
}

// Head `head` of the rows of a segment as a matrix [n, d] of `dtype`: a view where it can be.
at::Tensor head_rows(const at::Tensor& x, const std::vector<std::int64_t>& offsets, std::int64_t segment,
                     std::int64_t head, at::ScalarType dtype) {
  return x.select(1, head).narrow(0, offsets[segment], offsets[segment + 1] - offsets[segment]).to(dtype);
}

// A buffer for one matrix of scores, reused by the blocks of a task.
class Scores {
 public:
  Scores(const Shape& shape, std::int64_t segment, const at::TensorOptions& options)
      : buffer_(aten::empty({std::min(kBlock, shape.segments.q_length(segment)) * shape.segments.k_length(segment)},
                            options)) {}
  at::Tensor matrix(const Block& b) const {
    return buffer_.narrow(0, 0, b.rows() * b.columns()).view({b.rows(), b.columns()});
  }

 private:
  at::Tensor buffer_;
};

struct AttentionForward {
  at::Tensor out, lse;  // [Tq, H, d] and [H, Tq]
};

// A row's sum of exponentials and their logarithm, with the sink's beside them.
template <typename T>
void add_sink(T sink, T* sum, T* lse) {
  const double with = std::max<double>(sink, *lse) + std::log1p(std::exp(-std::abs(static_cast<double>(sink) - *lse)));
  *sum *= static_cast<T>(std::exp(with - *lse));
  *lse = static_cast<T>(with);
}

// A head as our own kernels take it.
gemm::AttentionHead own_head(const Shape& shape, std::int64_t segment, const at::Tensor& q, const at::Tensor& k,
                             const at::Tensor& v, const float* sink) {
  const std::int64_t offset = shape.segments.k_length(segment) - shape.segments.q_length(segment);
  return {q, k, v, offset, shape.options.window, shape.options.scale, shape.options.cap, sink};
}

// Of one product of queries with the keys they see.
double product_flops(const Shape& shape, std::int64_t head_dim) {
  double pairs = 0;
  for (std::int64_t s = 0; s < shape.segments.count(); ++s) {
    const std::int64_t n = shape.segments.q_length(s), offset = shape.segments.k_length(s) - n;
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t keys = offset + i + 1;
      pairs += static_cast<double>(shape.options.window ? std::min(keys, *shape.options.window) : keys);
    }
  }
  return 2 * pairs * static_cast<double>(shape.heads * head_dim);
}

AttentionForward attention_forward(const at::Tensor& q, const std::vector<at::Tensor>& k,
                                   const std::vector<at::Tensor>& v, const Shape& shape) {
  const ProfileScope profiled("attention", product_flops(shape, q.size(2) + v.front().size(2)),
                              static_cast<double>(2 * q.nbytes()));
  const auto dtype = wide_dtype(q);
  const auto options = q.options().dtype(dtype);
  AttentionForward result{aten::empty({q.size(0), q.size(1), v.front().size(2)}, q.options()),
                          aten::empty({q.size(1), q.size(0)}, options)};
  const auto& segments = shape.segments;
  const at::Tensor sinks =
      shape.options.sinks.defined() ? shape.options.sinks.detach().to(dtype).contiguous() : at::Tensor();
  for_tasks(shape, [&](const Task& task) {
    const std::int64_t s = task.segment, kv = task.head / shape.group();
    if (segments.q_length(s) == 0) return;
    const at::Tensor target = result.out.select(1, task.head).narrow(0, segments.q_offsets[s], segments.q_length(s));
    const bool few = gemm::takes_few(dtype, segments.q_length(s));
    if (few || gemm::takes(dtype, segments.q_length(s))) {
      const gemm::AttentionHead head =
          own_head(shape, s, head_rows(q, segments.q_offsets, s, task.head, q.scalar_type()), k[s].select(1, kv),
                   v[s].select(1, kv), sinks.defined() ? sinks.const_data_ptr<float>() + task.head : nullptr);
      const bool bf16 = gemm::in_bf16(q.scalar_type()) && k[s].scalar_type() == at::kBFloat16 && v[s].scalar_type() == at::kBFloat16;
      return (few ? gemm::attention_forward_few : bf16 ? gemm::attention_forward_bf16 : gemm::attention_forward)(
          head, target, result.lse.mutable_data_ptr<float>() + task.head * q.size(0) + segments.q_offsets[s]);
    }
    const at::Tensor qs = head_rows(q, segments.q_offsets, s, task.head, dtype);
    const at::Tensor ks = k[s].select(1, kv).to(dtype), vs = v[s].select(1, kv).to(dtype);
    const Scores scores(shape, s, options);
    for_blocks(shape, s, [&](const Block& b) {
      at::Tensor p = scores.matrix(b);
      aten::mm_out(p, qs.narrow(0, b.begin, b.rows()), ks.narrow(0, b.first, b.columns()).t());
      at::Tensor sums = aten::empty({b.rows(), 1}, options);
      with_wide_type(p, [&](auto tag) {
        using T = decltype(tag);
        T *const row = p.mutable_data_ptr<T>(), *const sum = sums.mutable_data_ptr<T>();
        T* const lse = result.lse.mutable_data_ptr<T>() + task.head * q.size(0) + segments.q_offsets[s];
        for (std::int64_t i = b.begin; i < b.end; ++i) {
          const std::int64_t r = i - b.begin;
          T* const scores_of_row = row + r * b.columns();
          const double cap = shape.options.cap;
          if (cap != 0) loops::cap_row(scores_of_row, b.seen_first(i), b.seen_last(i), shape.options.scale, cap);
          lse[i] = loops::softmax_row(scores_of_row, b.columns(), b.seen_first(i), b.seen_last(i),
                                      cap != 0 ? 1 : shape.options.scale, sum + r);
          if (sinks.defined()) add_sink(sinks.const_data_ptr<T>()[task.head], sum + r, lse + i);
        }
      });
      target.narrow(0, b.begin, b.rows()).copy_(p.mm(vs.narrow(0, b.first, b.columns())).div_(sums));
    });
  });
  return result;
}

// The heads of each group added up in order, [T, H, d] -> [T, Hkv, d] in `dtype`.
at::Tensor group_sum(const at::Tensor& x, std::int64_t kv_heads, at::ScalarType dtype) {
  const std::int64_t group = x.size(1) / kv_heads;
  if (group == 1 && x.scalar_type() == dtype) return x;
  at::Tensor result = aten::empty({x.size(0), kv_heads, x.size(2)}, x.options().dtype(dtype));
  for_row_chunks(x.size(0), 32, [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor heads = x.narrow(0, begin, end - begin).view({end - begin, kv_heads, group, x.size(2)});
    at::Tensor sum = heads.select(2, 0);
    if (group > 1) sum = sum.add(heads.select(2, 1));
    for (std::int64_t j = 2; j < group; ++j) sum.add_(heads.select(2, j));
    result.narrow(0, begin, end - begin).copy_(sum);
  });
  return result;
}

struct AttentionGradients {
  at::Tensor dq, dk, dv, dsinks;
};

// −Σ p(sink) delta over the rows of each head, in their order.
at::Tensor sink_gradients(const at::Tensor& sinks, const at::Tensor& lse, const at::Tensor& deltas) {
  at::Tensor result = sinks.new_empty(sinks.sizes(), lse.options());
  const at::Tensor wide = sinks.detach().to(lse.scalar_type()).contiguous();
  with_wide_type(lse, [&](auto tag) {
    using T = decltype(tag);
    const T *const l = lse.const_data_ptr<T>(), *const d = deltas.const_data_ptr<T>(),
                   *const s = wide.const_data_ptr<T>();
    T* const out = result.mutable_data_ptr<T>();
    for_row_chunks(lse.size(0), 1, [&](std::int64_t head, std::int64_t) {
      double sum = 0;
      for (std::int64_t i = head * lse.size(1); i < (head + 1) * lse.size(1); ++i) {
        sum -= std::exp(static_cast<double>(s[head]) - static_cast<double>(l[i])) * static_cast<double>(d[i]);
      }
      out[head] = static_cast<T>(sum);
    });
  });
  return result.to(sinks.scalar_type());
}

AttentionGradients attention_backward(const at::Tensor& g, const at::Tensor& q, const at::Tensor& k,
                                      const at::Tensor& v, const AttentionForward& kept, const Shape& shape) {
  const ProfileScope profiled("attention backward", product_flops(shape, 3 * q.size(2) + 2 * v.size(2)),
                              static_cast<double>(4 * q.nbytes() + 4 * k.nbytes()));
  const auto dtype = wide_dtype(q);
  const auto options = q.options().dtype(dtype);
  const auto& segments = shape.segments;
  at::Tensor dq = aten::empty(q.sizes(), q.options());
  // Gradients of keys and values by query head; a group's heads are added up at the end.
  const at::Tensor dk = aten::zeros({k.size(0), shape.heads, k.size(2)}, options);
  const at::Tensor dv = aten::zeros({v.size(0), shape.heads, v.size(2)}, options);
  const at::Tensor& sinks = shape.options.sinks;
  const at::Tensor row_deltas = sinks.defined() ? aten::zeros(kept.lse.sizes(), options) : at::Tensor();
  for_tasks(shape, [&](const Task& task) {
    const std::int64_t s = task.segment, kv = task.head / shape.group();
    if (segments.q_length(s) == 0) return;
    const bool own = gemm::takes(dtype, segments.q_length(s)), bf16 = own && gemm::in_bf16(q.scalar_type());
    const at::Tensor gs = head_rows(g, segments.q_offsets, s, task.head, bf16 ? at::kBFloat16 : dtype);
    const at::Tensor os = head_rows(kept.out, segments.q_offsets, s, task.head, bf16 ? at::kBFloat16 : dtype);
    const at::Tensor dqs = dq.select(1, task.head).narrow(0, segments.q_offsets[s], segments.q_length(s));
    const at::Tensor dks = head_rows(dk, segments.k_offsets, s, task.head, dtype);
    const at::Tensor dvs = head_rows(dv, segments.k_offsets, s, task.head, dtype);
    if (own) {
      const std::int64_t first_row = task.head * q.size(0) + segments.q_offsets[s];
      const gemm::AttentionHead head =
          own_head(shape, s, head_rows(q, segments.q_offsets, s, task.head, q.scalar_type()),
                   head_rows(k, segments.k_offsets, s, kv, k.scalar_type()),
                   head_rows(v, segments.k_offsets, s, kv, v.scalar_type()), nullptr);
      return (bf16 ? gemm::attention_backward_bf16 : gemm::attention_backward)(
          head, gs, os, kept.lse.const_data_ptr<float>() + first_row, dqs, dks, dvs,
          row_deltas.defined() ? row_deltas.mutable_data_ptr<float>() + first_row : nullptr);
    }
    const at::Tensor qs = head_rows(q, segments.q_offsets, s, task.head, dtype);
    const at::Tensor ks = head_rows(k, segments.k_offsets, s, kv, dtype);
    const at::Tensor vs = head_rows(v, segments.k_offsets, s, kv, dtype);
    const Scores scores(shape, s, options), gradients(shape, s, options);
    for_blocks(shape, s, [&](const Block& b) {
      const at::Tensor qb = qs.narrow(0, b.begin, b.rows()), gb = gs.narrow(0, b.begin, b.rows());
      const at::Tensor kb = ks.narrow(0, b.first, b.columns()), vb = vs.narrow(0, b.first, b.columns());
      const at::Tensor ob = os.narrow(0, b.begin, b.rows());
      at::Tensor p = scores.matrix(b), ds = gradients.matrix(b);
      aten::mm_out(p, qb, kb.t());
      aten::mm_out(ds, gb, vb.t());
      with_wide_type(p, [&](auto tag) {
        using T = decltype(tag);
        T *const pr = p.mutable_data_ptr<T>(), *const dr = ds.mutable_data_ptr<T>();
        const T *const gr = gb.const_data_ptr<T>(), *const out = ob.const_data_ptr<T>();
        const std::int64_t first_row = task.head * q.size(0) + segments.q_offsets[s];
        const T* const lse = kept.lse.const_data_ptr<T>() + first_row;
        T* const deltas = row_deltas.defined() ? row_deltas.mutable_data_ptr<T>() + first_row : nullptr;
        for (std::int64_t i = b.begin; i < b.end; ++i) {
          const std::int64_t r = i - b.begin;
          const T delta = loops::dot(gr + r * gb.stride(0), out + r * ob.stride(0), v.size(2));
          T *const p_row = pr + r * b.columns(), *const d_row = dr + r * b.columns();
          const double scale = shape.options.scale, cap = shape.options.cap;
          if (deltas != nullptr) deltas[i] = delta;
          if (cap != 0) {
            loops::capped_softmax_row_backward(p_row, d_row, b.columns(), b.seen_first(i), b.seen_last(i), scale, cap,
                                               lse[i], delta);
          } else {
            loops::softmax_row_backward(p_row, d_row, b.columns(), b.seen_first(i), b.seen_last(i), scale, lse[i],
                                        delta);
          }
        }
      });
      dvs.narrow(0, b.first, b.columns()).addmm_(p.t(), gb);
      dks.narrow(0, b.first, b.columns()).addmm_(ds.t(), qb);
      dqs.narrow(0, b.begin, b.rows()).copy_(ds.mm(kb));
    });
  });
  return {dq, group_sum(dk, shape.kv_heads, k.scalar_type()), group_sum(dv, shape.kv_heads, v.scalar_type()),
          sinks.defined() ? sink_gradients(sinks, kept.lse, row_deltas) : at::Tensor()};
}

void check(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Segments& segments,
           const AttentionOptions& options) {
  if (options.sinks.defined() && options.sinks.sizes() != at::IntArrayRef{q.size(1)}) {
    throw InternalError("kernels::attention: a sink for each head of the queries is expected");
  }
  const bool shapes = q.dim() == 3 && k.dim() == 3 && v.dim() == 3 && k.size(2) == q.size(2) &&
                      k.size(0) == v.size(0) && k.size(1) == v.size(1) && k.size(1) > 0 && q.size(1) % k.size(1) == 0;
  if (!shapes) {
    throw InternalError("kernels::attention: q [Tq, H, d], k and v [Tk, Hkv, d] with H a multiple of Hkv are expected");
  }
  if (segments.q_offsets.size() != segments.k_offsets.size() || segments.q_offsets.empty() ||
      segments.q_offsets.back() != q.size(0) || segments.k_offsets.back() != k.size(0)) {
    throw InternalError("kernels::attention: the segments do not end at the last of " + std::to_string(q.size(0)) +
                        " queries and " + std::to_string(k.size(0)) + " keys");
  }
  for (std::int64_t s = 0; s < segments.count(); ++s) {
    if (segments.k_length(s) < segments.q_length(s)) {
      throw InternalError("kernels::attention: segment " + std::to_string(s) + " has fewer keys than queries");
    }
  }
}

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Segments& segments,
                     const AttentionOptions& options) {
  check(q, k, v, segments, options);
  if (on_device::takes(q)) return on_device::attention(q, k, v, segments, options);
  if (!use_fused(q)) return composite::attention(q, k, v, segments, options);
  const at::Tensor queries = q.contiguous(), keys = k.contiguous(), values = v.contiguous();
  Shape shape{segments, options, q.size(1), k.size(1)};
  const bool sinks = options.sinks.defined();
  const auto forward = [&] {
    return attention_forward(queries, by_segment(keys, segments), by_segment(values, segments), shape);
  };
  if (records(queries, keys, values) || (sinks && records(options.sinks))) {
    std::vector<at::Tensor> inputs{queries, keys, values};
    if (sinks) inputs.push_back(options.sinks);
    return differentiable(inputs, [&]() -> ForwardPass {
      const AttentionForward result = forward();
      ForwardPass pass{result.out, inputs, {}};
      pass.saved.push_back(result.out);
      pass.saved.push_back(result.lse);
      shape.options.sinks = at::Tensor();  // among the saved: held otherwise it would keep the graph alive
      pass.backward = [shape, sinks](const BackwardPass& back) -> std::vector<at::Tensor> {
        const auto& saved = back.saved;
        const std::size_t last = saved.size();
        Shape with = shape;
        if (sinks) with.options.sinks = saved[3];
        AttentionGradients d = attention_backward(back.gradient.contiguous(), saved[0], saved[1], saved[2],
                                                  {saved[last - 2], saved[last - 1]}, with);
        return {d.dq, d.dk, d.dv, d.dsinks};
      };
      return pass;
    });
  }
  const at::NoGradGuard no_grad;
  return forward().out;
}

at::Tensor attention(const at::Tensor& q, const std::vector<at::Tensor>& k, const std::vector<at::Tensor>& v,
                     const Segments& segments, const AttentionOptions& options) {
  const bool fit = k.size() == v.size() && static_cast<std::int64_t>(k.size()) == segments.count() && !k.empty();
  if (!fit) throw InternalError("kernels::attention: keys and values of every segment are expected");
  const at::NoGradGuard no_grad;
  if (on_device::takes(q))
    return on_device::attention(q, aten::cat(k).to(q.scalar_type()), aten::cat(v).to(q.scalar_type()), segments, options);
  if (!use_fused(q)) return composite::attention(q, k, v, segments, options);
  return attention_forward(q.contiguous(), k, v, {segments, options, q.size(1), k.front().size(1)}).out;
}

}  // namespace lowrank::kernels
