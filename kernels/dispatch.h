// Whether an op runs fused or as its composite twin, and its element type as a C++ type.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include "lowrank/core/error.h"
#include "lowrank/kernels/runtime.h"

namespace lowrank::kernels {

/// The fused ops are written for fp32, fp64 and bf16 on the CPU; whatever else runs as plain ATen ops.
inline bool use_fused(const at::Tensor& x) {
  const auto dtype = x.scalar_type();
  return mode() == Mode::kFused && x.is_cpu() &&
         (dtype == at::kFloat || dtype == at::kDouble || dtype == at::kBFloat16);
}

/// Whether autograd will ask for a gradient of one of these.
template <typename... Tensors>
bool records(const Tensors&... tensors) {
  return at::GradMode::is_enabled() && (tensors.requires_grad() || ...);
}

/// f(T{}) with T the element type of a tensor that use_fused accepts.
template <typename F>
void with_element_type(const at::Tensor& x, const F& f) {
  switch (x.scalar_type()) {
    case at::kFloat:
      return f(float{});
    case at::kDouble:
      return f(double{});
    case at::kBFloat16:
      return f(c10::BFloat16{});
    default:
      throw InternalError("kernels: fp32, fp64 or bf16 is expected");
  }
}

/// The same for a tensor that is computed in: fp32 or fp64.
template <typename F>
void with_wide_type(const at::Tensor& x, const F& f) {
  if (x.scalar_type() == at::kDouble) return f(double{});
  return f(float{});
}

/// "fp32 inside": fp64 stays fp64.
inline at::ScalarType wide_dtype(at::ScalarType dtype) { return dtype == at::kDouble ? at::kDouble : at::kFloat; }
inline at::ScalarType wide_dtype(const at::Tensor& x) { return wide_dtype(x.scalar_type()); }

}  // namespace lowrank::kernels
