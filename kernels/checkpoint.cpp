#include "lowrank/kernels/checkpoint.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "lowrank/core/error.h"

namespace lowrank::kernels {

namespace {

using Body = std::function<at::Tensor(const at::Tensor&)>;

// Holds the body in the graph: released with it, also when backward is never called.
struct BodyHolder : torch::CustomClassHolder {
  explicit BodyHolder(Body f) : body(std::move(f)) {}
  Body body;
};

struct CheckpointFunction : torch::autograd::Function<CheckpointFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, const Body& body) {
    ctx->save_for_backward({x});
    ctx->saved_data["body"] = c10::IValue::make_capsule(c10::make_intrusive<BodyHolder>(body));
    const at::NoGradGuard no_grad;
    return body(x);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    const auto holder = ctx->saved_data["body"].toCapsule();
    const Body& body = static_cast<BodyHolder&>(*holder).body;
    const at::Tensor x = ctx->get_saved_variables()[0].detach().set_requires_grad(true);
    const at::AutoGradMode record(true);
    const at::Tensor y = body(x);
    // Reentrant: gradients of the parameters inside accumulate into them exactly as without recomputation.
    torch::autograd::backward({y}, {grads[0]});
    return {x.grad(), at::Tensor()};
  }
};

}  // namespace

at::Tensor checkpoint(const Body& f, const at::Tensor& x) {
  if (!at::GradMode::is_enabled()) return f(x);
  if (!x.requires_grad()) {
    throw InternalError(
        "kernels::checkpoint: the input does not require grad, so gradients of the parameters inside would "
        "be lost; call set_requires_grad(true) on it after the embedding");
  }
  return CheckpointFunction::apply(x, f);
}

}  // namespace lowrank::kernels
