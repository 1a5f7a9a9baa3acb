#include "lowrank/kernels/differentiable_group.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <utility>

#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/runtime.h"

namespace lowrank::kernels {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::CppNode;
using torch::autograd::variable_list;

struct HandWrittenGroup;
using WeakTensor = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;

// What an operation did not keep of its inputs, since their maker makes it again.
struct Absent {
  std::size_t place;                 // among the saved
  CppNode<HandWrittenGroup>* maker;  // held by the graph: an input's node
  WeakTensor kept;                   // where something else keeps it after all
};

// Holds the backward pass in the graph: released with it, also when it never runs.
struct GroupHolder : torch::CustomClassHolder {
  std::function<variable_list(const GroupBackwardPass&)> backward;
  std::function<at::Tensor(const variable_list&)> again;
  std::vector<Absent> absent;
  at::Tensor made;  // by `again`: once for all that read it, until this operation's own backward pass
  std::size_t inputs = 0;
  Runtime runtime;
};

GroupHolder& holder_of(AutogradContext& ctx) {
  // The graph owns it, and this is the graph's own node.
  return static_cast<GroupHolder&>(*ctx.saved_data["backward"].toCapsule());
}

CppNode<HandWrittenGroup>* maker_of(const at::Tensor& x);
variable_list saved_of(AutogradContext& ctx);

struct HandWrittenGroup : torch::autograd::Function<HandWrittenGroup> {
  static variable_list forward(AutogradContext* ctx, const at::TensorList& inputs,
                               const std::function<GroupForwardPass()>& forward) {
    GroupForwardPass pass = forward();
    auto holder = c10::make_intrusive<GroupHolder>();
    holder->backward = std::move(pass.backward);
    holder->again = std::move(pass.again);
    holder->inputs = inputs.size();
    holder->runtime = runtime();
    for (std::size_t i = 0; i < pass.saved.size(); ++i) {
      CppNode<HandWrittenGroup>* const maker = maker_of(pass.saved[i]);
      if (maker == nullptr) continue;
      holder->absent.push_back({i, maker, WeakTensor(pass.saved[i].getIntrusivePtr())});
      pass.saved[i] = at::Tensor();
    }
    ctx->save_for_backward(std::move(pass.saved));
    ctx->saved_data["backward"] = c10::IValue::make_capsule(std::move(holder));
    ctx->set_materialize_grads(false);
    return pass.outputs;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    GroupHolder& holder = holder_of(*ctx);
    holder.made = at::Tensor();
    variable_list result;
    if (std::any_of(gradients.begin(), gradients.end(), [](const at::Tensor& g) { return g.defined(); })) {
      const variable_list saved = saved_of(*ctx);
      const RuntimeScope same(holder.runtime);
      result = holder.backward({gradients, saved, [ctx](std::size_t i) { return ctx->needs_input_grad(i); }});
    }
    result.resize(holder.inputs + 1);  // `forward` is an argument too
    return result;
  }
};

CppNode<HandWrittenGroup>* maker_of(const at::Tensor& x) {
  if (!x.defined() || !x.requires_grad()) return nullptr;
  auto* const node = dynamic_cast<CppNode<HandWrittenGroup>*>(x.grad_fn().get());
  return node != nullptr && holder_of(node->ctx_).again ? node : nullptr;
}

at::Tensor made(CppNode<HandWrittenGroup>& maker) {
  GroupHolder& holder = holder_of(maker.ctx_);
  if (!holder.made.defined()) {
    const variable_list saved = saved_of(maker.ctx_);
    const at::NoGradGuard no_grad;
    const RuntimeScope same(holder.runtime);
    holder.made = holder.again(saved);
  }
  return holder.made;
}

variable_list saved_of(AutogradContext& ctx) {
  variable_list saved = ctx.get_saved_variables();
  for (const Absent& one : holder_of(ctx).absent) {
    const auto kept = one.kept.lock();
    saved[one.place] = kept ? at::Tensor(kept) : made(*one.maker);
  }
  return saved;
}

}  // namespace

bool made_again(const at::Tensor& x) { return maker_of(x) != nullptr; }

std::vector<at::Tensor> differentiable_group(const std::vector<at::Tensor>& inputs,
                                             const std::function<GroupForwardPass()>& forward) {
  return HandWrittenGroup::apply(at::TensorList(inputs), forward);
}

}  // namespace lowrank::kernels
