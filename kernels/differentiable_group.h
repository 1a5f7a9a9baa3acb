// differentiable() for an operation with several outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <functional>
#include <vector>

namespace lowrank::kernels {

/// As BackwardPass; an output that nothing was made of has an undefined gradient.
struct GroupBackwardPass {
  const std::vector<at::Tensor>& gradients;
  const std::vector<at::Tensor>& saved;
  const std::function<bool(std::size_t)>& needs;
};

/// As ForwardPass.
struct GroupForwardPass {
  std::vector<at::Tensor> outputs, saved;
  std::function<std::vector<at::Tensor>(const GroupBackwardPass&)> backward;
  std::function<at::Tensor(const std::vector<at::Tensor>& saved)> again = {};  // of a single output
};

/// As differentiable().
std::vector<at::Tensor> differentiable_group(const std::vector<at::Tensor>& inputs,
                                             const std::function<GroupForwardPass()>& forward);

}  // namespace lowrank::kernels
