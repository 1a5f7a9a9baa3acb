// The gated delta rule in chunks of 64 tokens (the WY form of Yang et al. 2024). With γ the running sum of g in a
// chunk, E = e^γ, Γ_ij = e^(γ_i − γ_j), S the state at its beginning, a = (K Kᵀ ∘ Γ) below the diagonal, p = (Q Kᵀ ∘ Γ)
// on and below it:
//     R = β (V − E K S),  X = (1 + β a)⁻¹ R,  O = E Q S + p X,  S' = e^γ_n S + (e^(γ_n − γ) K)ᵀ X.
// Keys and queries of a chunk lie one above the other, [2n, key_dim], so that each pair of products is one. A task is a
// key head of a segment, its chunks in order; the backward pass makes states and X again and keeps only the inputs.
#include "lowrank/core/error.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/gated_delta_chunks.h"

namespace lowrank::kernels {

namespace {

using delta::Chunk;
using delta::Inputs;
using delta::Task;
using delta::Work;

// A segment of one token, as in generation.
template <typename T>
void step(const Task<T>& task, std::int64_t value_head, const at::Tensor& state, T* out) {
  using W = Wide<T>;
  Work<T> work(task);
  const Chunk c{0, 1};
  work.read(c, value_head);
  const W* const key = task.units.template const_data_ptr<W>();
  std::vector<W> scratch(static_cast<std::size_t>(2 * task.value_dim()));
  W *const delta = scratch.data(), *const result = delta + task.value_dim();
  loops::delta_step(state.mutable_data_ptr<W>(), key + task.key_dim(), key, work.values.template const_data_ptr<W>(),
                    work.e[0], work.beta[0], delta, result, task.key_dim(), task.value_dim());
  loops::narrow_rows<T>(result, out, task.value_dim(), 1, task.value_dim());
}

// `states`: as the op has them, each [value_heads, key_dim, value_dim] and written; or empty.
at::Tensor forward_pass(const Inputs& in, const std::vector<at::Tensor>& states) {
  const std::int64_t heads = in.shape.value_heads, dv = in.shape.value_dim;
  at::Tensor out = aten::empty({in.qkv.size(0), heads, dv}, in.qkv.options());
  with_element_type(in.qkv, [&](auto tag) {
    using T = decltype(tag);
    using W = Wide<T>;
    delta::for_tasks(in, [&](std::int64_t segment, std::int64_t head) {
      const Task<T> task(in, segment, head);
      T* const to = out.mutable_data_ptr<T>() + task.first * heads * dv;
      for (std::int64_t h = head * task.group(); h < (head + 1) * task.group(); ++h) {
        const at::Tensor state = states.empty() ? aten::zeros({task.key_dim(), dv}, task.wide)
                                                : states[static_cast<std::size_t>(segment)].select(0, h);
        if (task.length == 1) {
          step<T>(task, h, state, to + h * dv);
          continue;
        }
        Work<T> work(task);
        const at::Tensor x = work.buffer(delta::kChunk, dv);
        task.for_chunks([&](const Chunk& c) {
          work.read(c, h);
          const at::Tensor both = work.make_products(c), by_state = work.make_by_state(c, state);
          const at::Tensor xs = Work<T>::rows(x, c.n), o = by_state.narrow(0, c.n, c.n);
          work.solve(c, by_state, xs);
          loops::scale_rows(o.const_data_ptr<W>(), work.e.data(), o.mutable_data_ptr<W>(), c.n, dv);
          delta::multiply(o, both.narrow(0, c.n, c.n), xs, /*accumulate=*/true);
          loops::narrow_rows<T>(o.const_data_ptr<W>(), to + (c.begin * heads + h) * dv, heads * dv, c.n, dv);
          work.advance(c, state, xs, state);
        });
      }
    });
  });
  return out;
}

void check(const at::Tensor& qkv, const at::Tensor& g, const at::Tensor& beta, const DeltaRuleShape& shape,
           const Segments& segments) {
  const bool heads = shape.key_heads > 0 && shape.value_heads % shape.key_heads == 0;
  const auto one_a_head = [&](const at::Tensor& x) {
    return x.dim() == 2 && x.size(0) == qkv.size(0) && x.size(1) == shape.value_heads;
  };
  if (!heads || qkv.dim() != 2 || qkv.size(1) != shape.columns() || !one_a_head(g) || !one_a_head(beta) ||
      g.scalar_type() != wide_dtype(qkv) || beta.scalar_type() != qkv.scalar_type()) {
    throw InternalError(
        "kernels::gated_delta_rule: qkv [T, columns], g [T, value_heads] of what is computed in and beta like qkv are "
        "expected, key_heads dividing value_heads");
  }
  if (segments.q_offsets.empty() || segments.tokens() != qkv.size(0)) {
    throw InternalError("kernels::gated_delta_rule: the segments do not end at the last token");
  }
}

}  // namespace

at::Tensor gated_delta_rule(const at::Tensor& qkv, const at::Tensor& g, const at::Tensor& beta,
                            const DeltaRuleShape& shape, const Segments& segments) {
  check(qkv, g, beta, shape, segments);
  if (!use_fused(qkv)) {
    std::vector<at::Tensor> empty(static_cast<std::size_t>(segments.count()));
    return composite::gated_delta_rule(qkv, g, beta, shape, segments, empty);
  }
  const Inputs in{qkv.contiguous(), g.contiguous(), beta.contiguous(), shape, segments};
  if (!records(in.qkv, in.g, in.beta)) {
    const at::NoGradGuard no_grad;
    return forward_pass(in, {});
  }
  return differentiable({in.qkv, in.g, in.beta}, [&]() -> ForwardPass {
    return {forward_pass(in, {}), {in.qkv, in.g, in.beta}, [shape, segments](const BackwardPass& pass) {
              const Inputs saved{pass.saved[0], pass.saved[1], pass.saved[2], shape, segments};
              const delta::Gradients d = delta::backward_pass(saved, pass.gradient.contiguous());
              return std::vector<at::Tensor>{d.qkv, d.g, d.beta};
            }};
  });
}

at::Tensor gated_delta_rule(const at::Tensor& qkv, const at::Tensor& g, const at::Tensor& beta,
                            const DeltaRuleShape& shape, const Segments& segments, std::vector<at::Tensor>& states) {
  check(qkv, g, beta, shape, segments);
  const at::NoGradGuard no_grad;
  if (!use_fused(qkv)) return composite::gated_delta_rule(qkv, g, beta, shape, segments, states);
  for (at::Tensor& state : states) {
    state =
        state.defined() ? state.clone() : aten::zeros({shape.value_heads, shape.key_dim, shape.value_dim}, g.options());
  }
  return forward_pass({qkv.contiguous(), g.contiguous(), beta.contiguous(), shape, segments}, states);
}

}  // namespace lowrank::kernels
