// Activation checkpointing: run f(x) without keeping its activations, and run it again in the backward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace lowrank::kernels {

/// y = f(x). x must require grad whenever parameters inside f do (or their gradients are lost: an error is thrown).
/// Gradients of parameters that f closes over accumulate into them exactly as without recomputation, so with the
/// counter-based dropout the run's bytes are the same.
at::Tensor checkpoint(const std::function<at::Tensor(const at::Tensor&)>& f, const at::Tensor& x);

}  // namespace lowrank::kernels
