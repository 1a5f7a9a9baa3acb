// The backward pass of the gated delta rule: chunks from the last to the first, with the states at their beginnings and X
// computed again.
#include "lowrank/kernels/gated_delta_chunks.h"

namespace lowrank::kernels::delta {

namespace {

// Gradients of g and β of a chunk of one value head, and what its rows need on the way.
template <typename W>
struct RowGradients {
  std::vector<W> gamma, beta, e;
  RowGradients() : gamma(kChunk), beta(kChunk), e(kChunk) {}
  void clear() {
    std::fill(gamma.begin(), gamma.end(), W{0});
    std::fill(beta.begin(), beta.end(), W{0});
  }
};

// One value head of a task: adds to the gradients of its keys and queries, `units` [2 length, key_dim], and writes
// those of its values, g and β.
template <typename T>
void head_backward(const Task<T>& task, std::int64_t h, const at::Tensor& gradient, const at::Tensor& units,
                   const Gradients& result) {
  using W = Wide<T>;
  const std::int64_t heads = task.in.shape.value_heads, dk = task.key_dim(), dv = task.value_dim();
  const std::int64_t chunks = (task.length + kChunk - 1) / kChunk;
  // Forward again: the state at the beginning of each chunk, X, and what led to them.
  std::vector<Work<T>> works;
  works.reserve(static_cast<std::size_t>(chunks));
  const at::Tensor states = aten::zeros({chunks, dk, dv}, task.wide), x = aten::empty({task.length, dv}, task.wide);
  task.for_chunks([&](const Chunk& c) {
    const at::Tensor state = states.select(0, c.begin / kChunk), xs = x.narrow(0, c.begin, c.n);
    Work<T>& work = works.emplace_back(task);
    work.read(c, h);
    work.make_products(c);
    work.solve(c, work.make_by_state(c, state), xs);
    if (c.begin / kChunk + 1 < chunks) work.advance(c, state, xs, states.select(0, c.begin / kChunk + 1));
  });

  const Work<T>& any = works.front();
  const at::Tensor dstate = aten::zeros({dk, dv}, task.wide), meeting = any.buffer(2 * kChunk, dv);
  const at::Tensor products = any.buffer(2 * kChunk, kChunk), dkeys = any.buffer(kChunk, dk);
  const at::Tensor dvalues = any.buffer(kChunk, dv);
  RowGradients<W> rows;
  for (std::int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
    const Chunk c{chunk * kChunk, std::min(kChunk, task.length - chunk * kChunk)};
    const std::int64_t n = c.n, token = task.first + c.begin;
    const at::Tensor state = states.select(0, chunk), xs = x.narrow(0, c.begin, n), chunk_units = task.units_of(c);
    const at::Tensor keys = chunk_units.narrow(0, 0, n), du = units.narrow(0, 2 * c.begin, 2 * n);
    rows.clear();
    Work<T>& work = works[static_cast<std::size_t>(chunk)];
    const at::Tensor both = work.products_of(c), by_state = Work<T>::rows(work.by_state, 2 * n);
    const at::Tensor weighted = work.make_weighted_keys(c);
    // dX over dO, then dR over dO.
    const at::Tensor dr_do = Work<T>::rows(meeting, 2 * n), dr = dr_do.narrow(0, 0, n), go = dr_do.narrow(0, n, n);
    loops::widen_rows<T>(gradient.const_data_ptr<T>() + (token * heads + h) * dv, heads * dv, go.mutable_data_ptr<W>(),
                         n, dv);
    multiply(dr, weighted, dstate);
    multiply(dr, both.narrow(0, n, n).t(), go, /*accumulate=*/true);
    // Through S' = … + (rest K)ᵀ X.
    const at::Tensor dk_weighted = Work<T>::rows(dkeys, n);
    multiply(dk_weighted, xs, dstate.t());
    W last = work.last_decay(c) * loops::dot(state.const_data_ptr<W>(), dstate.const_data_ptr<W>(), dk * dv);
    for (std::int64_t i = 0; i < n; ++i) {
      const W by_rest =
          work.rest[i] * loops::dot(keys.const_data_ptr<W>() + i * dk, dk_weighted.const_data_ptr<W>() + i * dk, dk);
      rows.gamma[i] -= by_rest;
      last += by_rest;
    }
    rows.gamma[n - 1] += last;
    loops::scale_rows(dk_weighted.const_data_ptr<W>(), work.rest.data(), dk_weighted.mutable_data_ptr<W>(), n, dk);
    du.narrow(0, 0, n).add_(dk_weighted);
    // Through X = (1 + β a)⁻¹ R and O = … + p X.
    work.substitute_transposed(c, dr);
    const at::Tensor to_products = products.view(-1).narrow(0, 0, 2 * n * n).view({2 * n, n});
    multiply(to_products, dr_do, xs.t());
    loops::decay_products_backward(both.const_data_ptr<W>(), work.decay.template const_data_ptr<W>(), work.beta.data(),
                                   to_products.mutable_data_ptr<W>(), rows.beta.data(), rows.gamma.data(), n);
    multiply(du, to_products, keys, /*accumulate=*/true);
    multiply(du.narrow(0, 0, n), to_products.t(), chunk_units, /*accumulate=*/true);
    // Through K S and Q S.
    loops::delta_rows_backward(work.values.template const_data_ptr<W>(), by_state.const_data_ptr<W>(), work.e.data(),
                               work.beta.data(), dr_do.mutable_data_ptr<W>(), dvalues.mutable_data_ptr<W>(),
                               rows.beta.data(), rows.e.data(), n, dv);
    multiply(du, dr_do, state.t(), /*accumulate=*/true);
    multiply(dstate.mul_(work.last_decay(c)), chunk_units.t(), dr_do, /*accumulate=*/true);
    loops::narrow_rows<T>(dvalues.const_data_ptr<W>(), result.qkv.mutable_data_ptr<T>() + task.value_at(c, h),
                          task.columns(), n, dv);
    W* const dg = result.g.mutable_data_ptr<W>() + token * heads + h;
    T* const dbeta = result.beta.mutable_data_ptr<T>() + token * heads + h;
    W sum = 0;  // γ is a running sum, so that g's gradient is one from the end
    for (std::int64_t i = n - 1; i >= 0; --i) {
      sum += rows.gamma[i] + work.e[i] * rows.e[i];
      dg[i * heads] = sum;
      dbeta[i * heads] = static_cast<T>(rows.beta[i]);
    }
  }
}

}  // namespace

Gradients backward_pass(const Inputs& in, const at::Tensor& gradient) {
  Gradients result{aten::empty(in.qkv.sizes(), in.qkv.options()), aten::empty(in.g.sizes(), in.g.options()),
                   aten::empty(in.beta.sizes(), in.beta.options())};
  with_element_type(in.qkv, [&](auto tag) {
    using T = decltype(tag);
    using W = Wide<T>;
    for_tasks(in, [&](std::int64_t segment, std::int64_t head) {
      const Task<T> task(in, segment, head);
      const at::Tensor units = aten::zeros(task.units.sizes(), task.wide);
      for (std::int64_t h = head * task.group(); h < (head + 1) * task.group(); ++h) {
        head_backward<T>(task, h, gradient, units, result);
      }
      T* const to = result.qkv.mutable_data_ptr<T>();
      const std::int64_t dk = task.key_dim();
      task.for_chunks([&](const Chunk& c) {
        const std::int64_t keys = 2 * c.begin, queries = keys + c.n;
        const W *const g = units.const_data_ptr<W>(), *const y = task.units.template const_data_ptr<W>();
        const W* const inverse = task.inverse.template const_data_ptr<W>();
        loops::unit_rows_backward<T>(g + keys * dk, y + keys * dk, inverse + keys, to + task.key_at(c), task.columns(),
                                     c.n, dk, 1);
        loops::unit_rows_backward<T>(g + queries * dk, y + queries * dk, inverse + queries, to + task.query_at(c),
                                     task.columns(), c.n, dk, task.query_scale());
      });
    });
  });
  return result;
}

}  // namespace lowrank::kernels::delta
