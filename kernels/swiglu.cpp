
#include <algorithm>

#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/loops.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/profile.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kChunk = 1 << 14;  // elements

at::Tensor forward_pass(const at::Tensor &gate, const at::Tensor &up) {
  const ProfileScope profiled("swiglu", 0, static_cast<double>(3 * gate.nbytes()));
  at::Tensor y = gate.new_empty(gate.sizes());
  with_element_type(gate, [&](auto tag) {
    using T = decltype(tag);
    const T *const e = gate.const_data_ptr<T>(), *const u = up.const_data_ptr<T>();
    T *const out = y.mutable_data_ptr<T>();
    for_row_chunks(gate.numel(), kChunk, [&](std::int64_t begin, std::int64_t end) {
      loops::swiglu(e + begin, u + begin, out + begin, end - begin);
    });
  });
  return y;
}

std::vector<at::Tensor> backward_pass(const BackwardPass &pass) {
  const at::Tensor &gate = pass.saved[0], &up = pass.saved[1], g = pass.gradient.contiguous();
  const ProfileScope profiled("swiglu backward", 0, static_cast<double>(5 * gate.nbytes()));
  at::Tensor dgate = gate.new_empty(gate.sizes()), dup = up.new_empty(up.sizes());
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

}  // namespace

at::Tensor swiglu(const at::Tensor &gate, const at::Tensor &up) {
  if (!use_fused(gate)) return composite::swiglu(gate, up);
  if (gate.sizes() != up.sizes() || gate.scalar_type() != up.scalar_type()) {
    throw InternalError("kernels::swiglu: gate and up of one shape and dtype are expected");
  }
  const at::Tensor e = gate.contiguous(), u = up.contiguous();
  if (!records(e, u)) return forward_pass(e, u);
  return differentiable_again(
      {e, u}, [](const std::vector<at::Tensor> &inputs) { return forward_pass(inputs[0], inputs[1]); }, backward_pass);
}

}  // namespace lowrank::kernels
