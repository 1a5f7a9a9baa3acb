// The twins of the delta rule, the causal convolution and the gated norm, from plain ATen ops and autograd.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/linear_attention.h"
#include "lowrank/kernels/norms.h"

namespace lowrank::kernels::composite {

namespace {

constexpr std::int64_t kChunk = 64;

// x [T, heads · d] -> [value_heads, T, d], each head divided by its length, for every value head that it serves.
at::Tensor unit_heads(const at::Tensor& x, const DeltaRuleShape& shape) {
  const at::Tensor heads = x.reshape({x.size(0), shape.key_heads, shape.key_dim}).transpose(0, 1);
  return (heads * at::rsqrt((heads * heads).sum(-1, /*keepdim=*/true) + 1e-6))
      .repeat_interleave(shape.value_heads / shape.key_heads, 0);
}

// One segment: o [value_heads, n, value_dim], and `state` moved on.
at::Tensor delta_segment(const at::Tensor& qkv, const at::Tensor& g, const at::Tensor& beta,
                         const DeltaRuleShape& shape, at::Tensor& state) {
  const auto parts = qkv.split_with_sizes({shape.key_columns(), shape.key_columns(), shape.value_columns()}, 1);
  const at::Tensor q = unit_heads(parts[0], shape) / std::sqrt(static_cast<double>(shape.key_dim));
  const at::Tensor k = unit_heads(parts[1], shape);
  const at::Tensor v = parts[2].reshape({qkv.size(0), shape.value_heads, shape.value_dim}).transpose(0, 1);
  std::vector<at::Tensor> outputs;
  for (std::int64_t begin = 0; begin < qkv.size(0); begin += kChunk) {
    const std::int64_t n = std::min(kChunk, qkv.size(0) - begin);
    const at::Tensor qs = q.narrow(1, begin, n), ks = k.narrow(1, begin, n), vs = v.narrow(1, begin, n);
    const at::Tensor b = beta.narrow(0, begin, n).t().unsqueeze(2);             // [H, n, 1]
    const at::Tensor gamma = g.narrow(0, begin, n).cumsum(0).t().unsqueeze(2);  // [H, n, 1]
    const at::Tensor later = at::ones({n, n}, g.options()).triu(1).to(at::kBool);
    const at::Tensor decay = (gamma - gamma.transpose(1, 2)).masked_fill(later, -INFINITY).exp();
    const at::Tensor a = (b * at::matmul(ks, ks.transpose(1, 2)) * decay).tril(-1);
    const at::Tensor p = at::matmul(qs, ks.transpose(1, 2)) * decay;
    const at::Tensor residual = b * (vs - gamma.exp() * at::matmul(ks, state));
    const at::Tensor x = at::linalg_solve_triangular(a + at::eye(n, g.options()), residual, /*upper=*/false);
    outputs.push_back(gamma.exp() * at::matmul(qs, state) + at::matmul(p, x));
    const at::Tensor last = gamma.narrow(1, n - 1, 1);
    state = last.exp() * state + at::matmul(((last - gamma).exp() * ks).transpose(1, 2), x);
  }
  return at::cat(outputs, 1);
}

}  // namespace

at::Tensor gated_delta_rule(const at::Tensor& qkv, const at::Tensor& g, const at::Tensor& beta,
                            const DeltaRuleShape& shape, const Segments& segments, std::vector<at::Tensor>& states) {
  const auto wide = wide_dtype(qkv);
  std::vector<at::Tensor> outputs;
  for (std::int64_t s = 0; s < segments.count(); ++s) {
    const std::int64_t begin = segments.q_offsets[s], n = segments.q_length(s);
    at::Tensor& state = states[static_cast<std::size_t>(s)];
    if (!state.defined()) state = at::zeros({shape.value_heads, shape.key_dim, shape.value_dim}, g.options());
    if (n == 0) continue;
    outputs.push_back(delta_segment(qkv.narrow(0, begin, n).to(wide), g.narrow(0, begin, n),
                                    beta.narrow(0, begin, n).to(wide), shape, state)
                          .transpose(0, 1));
  }
  if (outputs.empty()) return qkv.new_empty({0, shape.value_heads, shape.value_dim});
  return at::cat(outputs).to(qkv.scalar_type());
}

at::Tensor delta_decay(const at::Tensor& a, const at::Tensor& a_log, const at::Tensor& dt_bias) {
  const auto wide = wide_dtype(a);
  return -a_log.to(wide).exp() * at::softplus(a.to(wide) + dt_bias.to(wide));
}

at::Tensor causal_convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                              const Segments& segments, bool silu, std::vector<at::Tensor>& before) {
  const auto wide = wide_dtype(x);
  const std::int64_t taps = weight.size(1);
  std::vector<at::Tensor> outputs;
  for (std::int64_t s = 0; s < segments.count(); ++s) {
    const std::int64_t n = segments.q_length(s);
    at::Tensor& last = before[static_cast<std::size_t>(s)];
    if (!last.defined()) last = at::zeros({taps - 1, x.size(1)}, x.options());
    if (n == 0) continue;
    const at::Tensor all = at::cat({last, x.narrow(0, segments.q_offsets[s], n)});
    at::Tensor y = at::zeros({}, x.options().dtype(wide));
    for (std::int64_t j = 0; j < taps; ++j) y = y + all.narrow(0, j, n).to(wide) * weight.select(1, j).to(wide);
    if (bias.defined()) y = y + bias.to(wide);
    outputs.push_back(silu ? at::silu(y) : y);
    last = all.narrow(0, n, taps - 1).clone();
  }
  if (outputs.empty()) return x.new_empty({0, x.size(1)});
  return at::cat(outputs).to(x.scalar_type());
}

at::Tensor gated_rms_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& gate, double eps) {
  const auto wide = wide_dtype(x);
  const at::Tensor in = x.to(wide);
  const at::Tensor unit = (in * at::rsqrt((in * in).mean(-1, /*keepdim=*/true) + eps)).to(x.scalar_type());
  return ((unit * weight).view_as(gate).to(wide) * at::silu(gate.to(wide))).to(x.scalar_type());
}

}  // namespace lowrank::kernels::composite
