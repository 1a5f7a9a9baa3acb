// An operation whose gradient is written by hand: torch::autograd::Function's work without its header, which costs g++
// ten seconds in each file that includes it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <functional>
#include <vector>

namespace lowrank::kernels {

/// What a backward pass is given.
struct BackwardPass {
  const at::Tensor& gradient;  // of the output, in its shape; always defined
  const std::vector<at::Tensor>& saved;
  /// Whether the gradient of an input is asked for.
  const std::function<bool(std::size_t)>& needs;
};

/// What a forward pass leaves behind.
struct ForwardPass {
  at::Tensor output;
  /// Kept in the graph. A tensor that `backward` held in another way could keep the graph alive.
  std::vector<at::Tensor> saved;
  /// Gradients of the inputs, in their order; those that are not needed may be undefined, or missing at the end.
  std::function<std::vector<at::Tensor>(const BackwardPass&)> backward;
  /// The same output from what is saved, for an operation that costs little beside keeping it (a norm, a gate): whatever
  /// else of this kind saves the output then does not keep it, and is given it anew in its backward pass.
  std::function<at::Tensor(const std::vector<at::Tensor>& saved)> again = {};
};

/// Whether x is such an output.
bool made_again(const at::Tensor& x);

/// The output of `forward`, which runs now, unrecorded; its `backward` runs when autograd asks for gradients of
/// `inputs`, under the runtime that is in force now. Every input must be defined.
at::Tensor differentiable(const std::vector<at::Tensor>& inputs, const std::function<ForwardPass()>& forward);
/// The same for an operation that keeps its inputs alone, of which its output is made, and made again.
at::Tensor differentiable_again(const std::vector<at::Tensor>& inputs,
                                std::function<at::Tensor(const std::vector<at::Tensor>& inputs)> forward,
                                std::function<std::vector<at::Tensor>(const BackwardPass&)> backward);

}  // namespace lowrank::kernels
