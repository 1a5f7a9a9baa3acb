#include "lowrank/kernels/differentiable_group.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <utility>

#include "lowrank/kernels/runtime.h"

namespace lowrank::kernels {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Holds the backward pass in the graph: released with it, also when it never runs.
struct GroupHolder : torch::CustomClassHolder {
  std::function<variable_list(const GroupBackwardPass&)> backward;
  std::size_t inputs = 0;
  Runtime runtime;
};

struct HandWrittenGroup : torch::autograd::Function<HandWrittenGroup> {
  static variable_list forward(AutogradContext* ctx, const at::TensorList& inputs,
                               const std::function<GroupForwardPass()>& forward) {
    GroupForwardPass pass = forward();
    auto holder = c10::make_intrusive<GroupHolder>();
    holder->backward = std::move(pass.backward);
    holder->inputs = inputs.size();
    holder->runtime = runtime();
    ctx->save_for_backward(std::move(pass.saved));
    ctx->saved_data["backward"] = c10::IValue::make_capsule(std::move(holder));
    ctx->set_materialize_grads(false);
    return pass.outputs;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const auto capsule = ctx->saved_data["backward"].toCapsule();
    const auto& holder = static_cast<const GroupHolder&>(*capsule);
    variable_list result;
    if (std::any_of(gradients.begin(), gradients.end(), [](const at::Tensor& g) { return g.defined(); })) {
      const variable_list saved = ctx->get_saved_variables();
      const RuntimeScope same(holder.runtime);
      result = holder.backward({gradients, saved, [ctx](std::size_t i) { return ctx->needs_input_grad(i); }});
    }
    result.resize(holder.inputs + 1);  // `forward` is an argument too
    return result;
  }
};

}  // namespace

std::vector<at::Tensor> differentiable_group(const std::vector<at::Tensor>& inputs,
                                             const std::function<GroupForwardPass()>& forward) {
  return HandWrittenGroup::apply(at::TensorList(inputs), forward);
}

}  // namespace lowrank::kernels
