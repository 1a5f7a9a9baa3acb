// The twins of the fused ops, from plain ATen ops and autograd: slow, memory-hungry and easy to see to be right.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "lowrank/kernels/lora_linear.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/row_losses.h"
#include "lowrank/kernels/smoothed_cross_entropy.h"

namespace lowrank::kernels::composite {

namespace {

// What "fp32 inside" means: fp64 stays fp64.
at::ScalarType wide(const at::Tensor& x) { return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

// All of W [out, in], with its history where it is trained.
at::Tensor dense(const BaseWeight& base, at::ScalarType dtype) {
  return base.trains() ? base.trained().to(dtype) : base.rows(0, base.out_features(), dtype);
}

}  // namespace

at::Tensor lora_linear(const at::Tensor& x, const BaseWeight& base, std::span<const LoraOperand> adapters,
                       const DropoutContext* dropout) {
  const auto dtype = x.scalar_type();
  const at::Tensor weight = dense(base, dtype);
  at::Tensor y = at::linear(x, weight);
  if (base.bias().defined()) y = y + base.bias().to(dtype);
  for (const LoraOperand& lora : adapters) {
    at::Tensor dropped = x;
    if (dropout != nullptr && lora.dropout > 0) {
      dropped =
          x * apply_dropout(at::ones_like(x), lora.dropout, lora.dropout_key, dropout->step, dropout->token_in_step);
    }
    const at::Tensor t = at::linear(dropped, lora.a.to(dtype));
    const at::Tensor delta = at::linear(t, lora.b.to(dtype)) * lora.scale;
    if (lora.magnitude.defined()) {
      const at::Tensor gain = lora.magnitude / lora.norms;
      y = (y + (gain - 1) * at::linear(dropped, weight) + gain * delta).to(dtype);
    } else {
      y = y + delta;
    }
  }
  return y;
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide_x = x.to(wide(x));
  const at::Tensor inverse = at::rsqrt((wide_x * wide_x).mean(-1, /*keepdim=*/true) + eps);
  return (wide_x * inverse).to(x.scalar_type()) * weight;
}

at::Tensor rotary(const at::Tensor& x, const RotaryTables& tables) {
  const std::int64_t half = tables.cos.size(1);
  const at::Tensor cos = tables.cos.to(wide(x)).unsqueeze(1), sin = tables.sin.to(wide(x)).unsqueeze(1);
  if (tables.interleaved) {
    const at::Tensor pairs = x.narrow(2, 0, 2 * half).to(wide(x)).unflatten(2, {half, 2});
    const at::Tensor a = pairs.select(3, 0), b = pairs.select(3, 1);
    const at::Tensor both = at::stack({a * cos - b * sin, b * cos + a * sin}, 3).flatten(2);
    return at::cat({both.to(x.scalar_type()), x.narrow(2, 2 * half, x.size(2) - 2 * half)}, 2);
  }
  const at::Tensor x1 = x.narrow(2, 0, half).to(wide(x)), x2 = x.narrow(2, half, half).to(wide(x));
  const at::Tensor turned = at::cat({x1 * cos - x2 * sin, x2 * cos + x1 * sin}, 2).to(x.scalar_type());
  return at::cat({turned, x.narrow(2, 2 * half, x.size(2) - 2 * half)}, 2);
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  return at::silu(gate.to(wide(gate))).to(gate.scalar_type()) * up;
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Segments& segments,
                     const AttentionOptions& options) {
  const std::int64_t group = q.size(1) / k.size(1);
  std::vector<at::Tensor> outputs;
  for (std::int64_t s = 0; s < segments.count(); ++s) {
    const std::int64_t nq = segments.q_length(s), nk = segments.k_length(s);
    if (nq == 0) continue;
    const at::Tensor qs = q.narrow(0, segments.q_offsets[s], nq).transpose(0, 1);
    const at::Tensor ks = k.narrow(0, segments.k_offsets[s], nk).transpose(0, 1).repeat_interleave(group, 0);
    const at::Tensor vs = v.narrow(0, segments.k_offsets[s], nk).transpose(0, 1).repeat_interleave(group, 0);
    at::Tensor scores = at::matmul(qs, ks.transpose(1, 2)).to(wide(q)) * options.scale;
    if (options.cap != 0) scores = (scores / options.cap).tanh() * options.cap;
    const auto places = q.options().dtype(at::kLong);
    const at::Tensor position = at::arange(nk - nq, nk, places).unsqueeze(1);
    const at::Tensor key = at::arange(nk, places).unsqueeze(0);
    at::Tensor hidden = key > position;
    if (options.window) hidden = hidden.logical_or(key <= position - *options.window);
    scores = scores.masked_fill(hidden, -INFINITY);
    if (options.sinks.defined()) {
      scores = at::cat({scores, options.sinks.to(wide(q)).view({-1, 1, 1}).expand({-1, nq, 1})}, 2);
    }
    const at::Tensor probabilities = at::softmax(scores, -1).narrow(2, 0, nk);
    outputs.push_back(at::matmul(probabilities.to(q.scalar_type()), vs).transpose(0, 1));
  }
  if (outputs.empty()) return at::empty({0, q.size(1), v.size(2)}, q.options());
  return at::cat(outputs, 0);
}

at::Tensor attention(const at::Tensor& q, const std::vector<at::Tensor>& k, const std::vector<at::Tensor>& v,
                     const Segments& segments, const AttentionOptions& options) {
  return composite::attention(q, at::cat(k).to(q.scalar_type()), at::cat(v).to(q.scalar_type()), segments, options);
}

at::Tensor linear_cross_entropy(const at::Tensor& hidden, const BaseWeight& head, const at::Tensor& labels) {
  return composite::smoothed_cross_entropy(hidden, head, labels, 0);
}

at::Tensor smoothed_cross_entropy(const at::Tensor& hidden, const BaseWeight& head, const at::Tensor& labels,
                                  double smoothing) {
  return composite::row_losses(at::linear(hidden, dense(head, hidden.scalar_type())), labels, smoothing);
}

at::Tensor row_log_softmax(const at::Tensor& logits) { return at::log_softmax(logits.to(wide(logits)), -1); }

at::Tensor row_losses(const at::Tensor& logits, const at::Tensor& labels, double smoothing) {
  const at::Tensor counted = labels != -100;
  const at::Tensor index = at::where(counted, labels, at::zeros({}, labels.options())).unsqueeze(1);
  const at::Tensor logs = composite::row_log_softmax(logits);
  at::Tensor losses = -logs.gather(1, index).squeeze(1);
  if (smoothing != 0) losses = losses * (1 - smoothing) - logs.mean(1) * smoothing;
  return at::where(counted, losses, at::zeros({}, losses.options()));
}

void adamw_step(at::Tensor& param, const at::Tensor& grad, at::Tensor& exp_avg, at::Tensor& exp_avg_sq,
                std::int64_t step, const AdamWOptions& options) {
  const double correction1 = 1 - std::pow(options.beta1, static_cast<double>(step));
  const double correction2 = 1 - std::pow(options.beta2, static_cast<double>(step));
  param.mul_(1 - options.lr * options.weight_decay);
  exp_avg.lerp_(grad, 1 - options.beta1);
  exp_avg_sq.mul_(options.beta2).addcmul_(grad, grad, 1 - options.beta2);
  const at::Tensor denominator = (exp_avg_sq.sqrt() / std::sqrt(correction2)).add_(options.eps);
  param.addcdiv_(exp_avg, denominator, -options.lr / correction1);
}

}  // namespace lowrank::kernels::composite
