#include "lowrank/kernels/checkpoint.h"

#include <ATen/core/grad_mode.h>

#include "lowrank/core/error.h"
#include "lowrank/kernels/differentiable.h"

namespace lowrank::kernels {

at::Tensor checkpoint(const std::function<at::Tensor(const at::Tensor&)>& f, const at::Tensor& x) {
  if (!at::GradMode::is_enabled()) return f(x);
  if (!x.requires_grad()) {
    throw InternalError(
        "kernels::checkpoint: the input does not require grad, so gradients of the parameters inside would "
        "be lost; call set_requires_grad(true) on it after the embedding");
  }
  const auto backward = [f](const BackwardPass& pass) -> std::vector<at::Tensor> {
    const at::Tensor input = pass.saved[0].detach().set_requires_grad(true);
    const at::AutoGradMode record(true);
    const at::Tensor y = f(input);
    // Reentrant: gradients of the parameters inside accumulate into them exactly as without recomputation.
    y.backward(pass.gradient);
    return {input.grad()};
  };
  return differentiable({x}, [&]() -> ForwardPass { return {f(x), {x}, backward}; });
}

}  // namespace lowrank::kernels
