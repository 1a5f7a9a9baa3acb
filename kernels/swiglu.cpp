#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/loops.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kChunk = 1 << 14;  // elements

at::Tensor forward_pass(const at::Tensor& gate, const at::Tensor& up) {
  at::Tensor y = at::empty_like(gate);
  with_element_type(gate, [&](auto tag) {
    using T = decltype(tag);
    const T *const e = gate.const_data_ptr<T>(), *const u = up.const_data_ptr<T>();
    T* const out = y.mutable_data_ptr<T>();
    for_row_chunks(gate.numel(), kChunk, [&](std::int64_t begin, std::int64_t end) {
      loops::swiglu(e + begin, u + begin, out + begin, end - begin);
    });
  });
  return y;
}

struct SwigluFunction : torch::autograd::Function<SwigluFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up) {
    ctx->save_for_backward({gate, up});
    return forward_pass(gate, up);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &gate = saved[0], &up = saved[1], g = grads[0].contiguous();
    at::Tensor dgate = at::empty_like(gate), dup = at::empty_like(up);
    with_element_type(gate, [&](auto tag) {
      using T = decltype(tag);
      const T *const gp = g.const_data_ptr<T>(), *const e = gate.const_data_ptr<T>(), *const u = up.const_data_ptr<T>();
      T *const de = dgate.mutable_data_ptr<T>(), *const du = dup.mutable_data_ptr<T>();
      for_row_chunks(gate.numel(), kChunk, [&](std::int64_t begin, std::int64_t end) {
        loops::swiglu_backward(gp + begin, e + begin, u + begin, de + begin, du + begin, end - begin);
      });
    });
    return {dgate, dup};
  }
};

}  // namespace

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  if (!use_fused(gate)) return composite::swiglu(gate, up);
  if (gate.sizes() != up.sizes() || gate.scalar_type() != up.scalar_type()) {
    throw InternalError("kernels::swiglu: gate and up of one shape and dtype are expected");
  }
  const at::Tensor e = gate.contiguous(), u = up.contiguous();
  return records(e, u) ? SwigluFunction::apply(e, u) : forward_pass(e, u);
}

}  // namespace lowrank::kernels
