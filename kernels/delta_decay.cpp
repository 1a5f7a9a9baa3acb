// The decay of the gated delta rule: a number a token and head, and so no inner loop worth a file of its own.
#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/linear_attention.h"
#include "lowrank/kernels/loops.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kChunk = 256;  // tokens

// As torch's softplus and its slope: x itself from a threshold on.
template <typename W>
W softplus(W x) {
  return x > 20 ? x : std::log1p(std::exp(x));
}
template <typename W>
W softplus_slope(W x) {
  return x > 20 ? W{1} : W{1} / (W{1} + std::exp(-x));
}

at::Tensor forward_pass(const at::Tensor& a, const at::Tensor& a_log, const at::Tensor& dt_bias) {
  at::Tensor g = aten::empty(a.sizes(), a_log.options());
  with_element_type(a, [&](auto tag) {
    using T = decltype(tag);
    using W = Wide<T>;
    const T* const in = a.const_data_ptr<T>();
    const W *const rate = a_log.const_data_ptr<W>(), *const bias = dt_bias.const_data_ptr<W>();
    W* const out = g.mutable_data_ptr<W>();
    for_row_chunks(a.size(0), kChunk, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin * a.size(1); i < end * a.size(1); ++i) {
        const std::int64_t h = i % a.size(1);
        out[i] = -std::exp(rate[h]) * softplus(static_cast<W>(in[i]) + bias[h]);
      }
    });
  });
  return g;
}

std::vector<at::Tensor> backward_pass(const BackwardPass& pass) {
  const at::Tensor &a = pass.saved[0], &a_log = pass.saved[1], &dt_bias = pass.saved[2], &g = pass.saved[3];
  const at::Tensor gradient = pass.gradient.contiguous();
  const std::int64_t heads = a.size(1);
  at::Tensor da = a.new_empty(a.sizes()), drate = a_log.new_empty({heads}), dbias = a_log.new_empty({heads});
  with_element_type(a, [&](auto tag) {
    using T = decltype(tag);
    using W = Wide<T>;
    const T* const in = a.const_data_ptr<T>();
    const W *const rate = a_log.const_data_ptr<W>(), *const bias = dt_bias.const_data_ptr<W>();
    const W *const up = gradient.const_data_ptr<W>(), *const out = g.const_data_ptr<W>();
    T* const to = da.mutable_data_ptr<T>();
    W *const by_rate = drate.mutable_data_ptr<W>(), *const by_bias = dbias.mutable_data_ptr<W>();
    // A head at a time, so that its sums are in the order of the tokens.
    for_row_chunks(heads, 1, [&](std::int64_t h, std::int64_t) {
      const W speed = -std::exp(rate[h]);
      double rates = 0, biases = 0;
      for (std::int64_t i = h; i < a.numel(); i += heads) {
        const W slope = up[i] * speed * softplus_slope(static_cast<W>(in[i]) + bias[h]);
        to[i] = static_cast<T>(slope);
        rates += static_cast<double>(up[i]) * static_cast<double>(out[i]);
        biases += static_cast<double>(slope);
      }
      by_rate[h] = static_cast<W>(rates);
      by_bias[h] = static_cast<W>(biases);
    });
  });
  return {da, drate, dbias};
}

}  // namespace

at::Tensor delta_decay(const at::Tensor& a, const at::Tensor& a_log, const at::Tensor& dt_bias) {
  if (!use_fused(a)) return composite::delta_decay(a, a_log, dt_bias);
  const bool shapes = a.dim() == 2 && a_log.dim() == 1 && dt_bias.dim() == 1 && a_log.size(0) == a.size(1) &&
                      dt_bias.size(0) == a.size(1);
  if (!shapes) {
    throw InternalError("kernels::delta_decay: a [T, H], A_log [H] and dt_bias [H] are expected");
  }
  const at::Tensor in = a.contiguous(), rate = a_log.to(wide_dtype(a)).contiguous();
  const at::Tensor bias = dt_bias.to(wide_dtype(a)).contiguous();
  if (!records(in, rate, bias)) return forward_pass(in, rate, bias);
  return differentiable({in, rate, bias}, [&]() -> ForwardPass {
    const at::Tensor g = forward_pass(in, rate, bias);
    return {g, {in, rate, bias, g}, backward_pass};
  });
}

}  // namespace lowrank::kernels
