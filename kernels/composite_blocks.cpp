// The twins of the norms and activations that not every family has, from plain ATen ops and autograd.
#include <ATen/TensorOperators.h>
#include <ATen/ops/erf.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>

#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/kernels/activation.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/norms.h"

namespace lowrank::kernels::composite {

namespace {

at::Tensor apply(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return x * x.sigmoid();
    case Activation::kGelu:
      return x * 0.5 * (1 + at::erf(x / std::sqrt(2.0)));
    case Activation::kGeluTanh:
      return x * 0.5 * (1 + ((x + x.pow(3) * 0.044715) * std::sqrt(2 / M_PI)).tanh());
    case Activation::kQuickGelu:
      return x * (x * 1.702).sigmoid();
    case Activation::kRelu:
      return x.relu();
    case Activation::kRelu2:
      return x.relu().square();
    case Activation::kSigmoid:
      return x.sigmoid();
    case Activation::kTanh:
      return x.tanh();
  }
  throw InternalError("kernels: an activation that there is not");
}

}  // namespace

at::Tensor wide_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const auto wide = wide_dtype(x);
  const at::Tensor in = x.to(wide);
  return (in * at::rsqrt((in * in).mean(-1, /*keepdim=*/true) + eps) * weight.to(wide)).to(x.scalar_type());
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps) {
  const auto wide = wide_dtype(x);
  const at::Tensor centred = x.to(wide) - x.to(wide).mean(-1, /*keepdim=*/true);
  at::Tensor y = centred * at::rsqrt((centred * centred).mean(-1, /*keepdim=*/true) + eps);
  if (weight.defined()) y = y * weight.to(wide);
  if (bias.defined()) y = y + bias.to(wide);
  return y.to(x.scalar_type());
}

at::Tensor activate(const at::Tensor& x, Activation activation) {
  return apply(x.to(wide_dtype(x)), activation).to(x.scalar_type());
}

at::Tensor gated(const at::Tensor& gate, const at::Tensor& up, Activation activation) {
  return composite::activate(gate, activation) * up;
}

at::Tensor soft_cap(const at::Tensor& x, double cap) {
  return ((x.to(wide_dtype(x)) / cap).tanh() * cap).to(x.scalar_type());
}

}  // namespace lowrank::kernels::composite
