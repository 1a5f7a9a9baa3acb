// The activations of decoder families, plain and as a gate.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

namespace lowrank::kernels {

enum class Activation {
  kSilu,       // x · sigmoid(x)
  kGelu,       // x · Φ(x)
  kGeluTanh,   // its approximation by tanh
  kQuickGelu,  // x · sigmoid(1.702 x)
  kRelu,
  kRelu2,  // max(x, 0)²
  kSigmoid,
  kTanh,
};

/// By its name in transformers' ACT2FN; nothing where decoder families use none of this name.
std::optional<Activation> find_activation(std::string_view name);

/// f(x), computed in fp32 and rounded to x's dtype.
at::Tensor activate(const at::Tensor& x, Activation activation);

/// f(gate) · up, both of one shape; f in fp32, rounded to the dtype before the product, as transformers does. silu is
/// kernels::swiglu.
at::Tensor gated(const at::Tensor& gate, const at::Tensor& up, Activation activation);

/// cap · tanh(x / cap), in fp32, rounded to x's dtype (Gemma 2's soft cap of logits).
at::Tensor soft_cap(const at::Tensor& x, double cap);

namespace composite {
at::Tensor activate(const at::Tensor& x, Activation activation);
at::Tensor gated(const at::Tensor& gate, const at::Tensor& up, Activation activation);
at::Tensor soft_cap(const at::Tensor& x, double cap);
}  // namespace composite

}  // namespace lowrank::kernels
