#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/loops_blocks.h"
#include "lowrank/kernels/norms.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kChunk = 16;

template <typename W>
const W* values(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<W>() : nullptr;
}

struct Norm {
  at::Tensor y, mean, inverse;
};

Norm forward_pass(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps) {
  const std::int64_t n = x.size(-1), rows = x.numel() / n;
  const auto wide = x.options().dtype(wide_dtype(x));
  Norm result{x.new_empty(x.sizes()), aten::empty({rows}, wide), aten::empty({rows}, wide)};
  with_element_type(x, [&](auto tag) {
    using T = decltype(tag);
    using W = Wide<T>;
    const T* const in = x.const_data_ptr<T>();
    const W *const w = values<W>(weight), *const b = values<W>(bias);
    T* const out = result.y.mutable_data_ptr<T>();
    W *const mean = result.mean.mutable_data_ptr<W>(), *const inverse = result.inverse.mutable_data_ptr<W>();
    for_row_chunks(rows, kChunk, [&](std::int64_t begin, std::int64_t end) {
      loops::layer_norm<T>(in + begin * n, w, b, out + begin * n, mean + begin, inverse + begin, end - begin, n, eps);
    });
  });
  return result;
}

// Sums over rows that chunks made, [chunks, n] -> [n], in the chunks' order.
at::Tensor added_up(const at::Tensor& partial) {
  at::Tensor result = aten::empty({partial.size(1)}, partial.options());
  for_row_chunks(partial.size(1), 64, [&](std::int64_t begin, std::int64_t end) {
    result.narrow(0, begin, end - begin).copy_(partial.narrow(1, begin, end - begin).sum(0));
  });
  return result;
}

struct Gradients {
  at::Tensor dx, dw, db;
};

Gradients backward_pass(const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& weight, const Norm& kept,
                        bool needs_weight, bool needs_bias) {
  const at::Tensor g = gradient.contiguous();
  const std::int64_t n = x.size(-1), rows = x.numel() / n;
  Gradients result{x.new_empty(x.sizes()), {}, {}};
  const auto partials = [&] { return aten::zeros({(rows + kChunk - 1) / kChunk, n}, kept.inverse.options()); };
  const at::Tensor dw = needs_weight ? partials() : at::Tensor(), db = needs_bias ? partials() : at::Tensor();
  with_element_type(x, [&](auto tag) {
    using T = decltype(tag);
    using W = Wide<T>;
    const T *const gp = g.const_data_ptr<T>(), *const xp = x.const_data_ptr<T>();
    const W *const w = values<W>(weight), *const mean = values<W>(kept.mean), *const inverse = values<W>(kept.inverse);
    T* const out = result.dx.mutable_data_ptr<T>();
    W* const by_weight = needs_weight ? dw.mutable_data_ptr<W>() : nullptr;
    W* const by_bias = needs_bias ? db.mutable_data_ptr<W>() : nullptr;
    for_row_chunks(rows, kChunk, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t sums = begin / kChunk * n;
      loops::layer_norm_backward<T>(gp + begin * n, xp + begin * n, w, mean + begin, inverse + begin, out + begin * n,
                                    needs_weight ? by_weight + sums : nullptr, needs_bias ? by_bias + sums : nullptr,
                                    end - begin, n);
    });
  });
  if (needs_weight) result.dw = added_up(dw);
  if (needs_bias) result.db = added_up(db);
  return result;
}

}  // namespace

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps) {
  if (!use_fused(x)) return composite::layer_norm(x, weight, bias, eps);
  for (const at::Tensor& parameter : {weight, bias}) {
    if (!parameter.defined() || (x.dim() > 0 && parameter.sizes() == at::IntArrayRef{x.size(-1)})) continue;
    throw InternalError("kernels::layer_norm: x [..., d], weight [d] and bias [d] are expected");
  }
  const auto widened = [&](const at::Tensor& parameter) {
    return parameter.defined() ? parameter.to(wide_dtype(x)).contiguous() : parameter;
  };
  const at::Tensor in = x.contiguous(), w = widened(weight), b = widened(bias);
  if (!records(in) && !(w.defined() && records(w)) && !(b.defined() && records(b))) {
    return forward_pass(in, w, b, eps).y;
  }
  std::vector<at::Tensor> inputs = {in};
  if (w.defined()) inputs.push_back(w);
  if (b.defined()) inputs.push_back(b);
  return differentiable(inputs, [&]() -> ForwardPass {
    const Norm norm = forward_pass(in, w, b, eps);
    const bool has_weight = w.defined(), has_bias = b.defined();
    return {norm.y,
            {in, w, norm.mean, norm.inverse, b},
            [=](const BackwardPass& pass) {
              const auto& saved = pass.saved;
              const Gradients d = backward_pass(pass.gradient, saved[0], saved[1], {{}, saved[2], saved[3]},
                                                has_weight && pass.needs(1), has_bias && pass.needs(has_weight ? 2 : 1));
              std::vector<at::Tensor> result = {d.dx};
              if (has_weight) result.push_back(d.dw);
              if (has_bias) result.push_back(d.db);
              return result;
            },
            [eps](const std::vector<at::Tensor>& saved) { return forward_pass(saved[0], saved[1], saved[4], eps).y; }};
  });
}

}  // namespace lowrank::kernels
