#include "lowrank/kernels/activation.h"

#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/loops_blocks.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kChunk = 1 << 14;  // elements

// y = f(x) element by element, f given raw values.
template <typename F>
at::Tensor elementwise(const at::Tensor& x, const F& f) {
  at::Tensor y = x.new_empty(x.sizes());
  with_element_type(x, [&](auto tag) {
    using T = decltype(tag);
    const T* const in = x.const_data_ptr<T>();
    T* const out = y.mutable_data_ptr<T>();
    for_row_chunks(x.numel(), kChunk,
                   [&](std::int64_t begin, std::int64_t end) { f(in + begin, out + begin, end - begin, begin); });
  });
  return y;
}

at::Tensor activate_forward(const at::Tensor& x, Activation f) {
  return elementwise(x,
                     [f](const auto* in, auto* out, std::int64_t n, std::int64_t) { loops::activate(f, in, out, n); });
}

at::Tensor activate_backward(const at::Tensor& gradient, const at::Tensor& x, Activation f) {
  const at::Tensor g = gradient.contiguous();
  return elementwise(x, [&](const auto* in, auto* out, std::int64_t n, std::int64_t at) {
    using T = std::remove_pointer_t<decltype(out)>;
    loops::activate_backward(f, g.const_data_ptr<T>() + at, in, out, n);
  });
}

at::Tensor gated_forward(const at::Tensor& gate, const at::Tensor& up, Activation f) {
  return elementwise(gate, [&](const auto* in, auto* out, std::int64_t n, std::int64_t at) {
    using T = std::remove_pointer_t<decltype(out)>;
    loops::gated(f, in, up.const_data_ptr<T>() + at, out, n);
  });
}

std::vector<at::Tensor> gated_backward(const BackwardPass& pass, Activation f) {
  const at::Tensor &gate = pass.saved[0], &up = pass.saved[1], g = pass.gradient.contiguous();
  at::Tensor dup = up.new_empty(up.sizes());
  const at::Tensor dgate = elementwise(gate, [&](const auto* in, auto* out, std::int64_t n, std::int64_t at) {
    using T = std::remove_pointer_t<decltype(out)>;
    loops::gated_backward(f, g.const_data_ptr<T>() + at, in, up.const_data_ptr<T>() + at, out,
                          dup.mutable_data_ptr<T>() + at, n);
  });
  return {dgate, dup};
}

at::Tensor soft_cap_forward(const at::Tensor& x, double cap) {
  return elementwise(
      x, [cap](const auto* in, auto* out, std::int64_t n, std::int64_t) { loops::soft_cap(in, out, n, cap); });
}

at::Tensor soft_cap_backward(const at::Tensor& gradient, const at::Tensor& x, double cap) {
  const at::Tensor g = gradient.contiguous();
  return elementwise(x, [&](const auto* in, auto* out, std::int64_t n, std::int64_t at) {
    using T = std::remove_pointer_t<decltype(out)>;
    loops::soft_cap_backward(g.const_data_ptr<T>() + at, in, out, n, cap);
  });
}

}  // namespace

at::Tensor activate(const at::Tensor& x, Activation f) {
  if (!use_fused(x)) return composite::activate(x, f);
  const at::Tensor in = x.contiguous();
  if (!records(in)) return activate_forward(in, f);
  return differentiable_again(
      {in}, [f](const std::vector<at::Tensor>& inputs) { return activate_forward(inputs[0], f); },
      [f](const BackwardPass& pass) {
        return std::vector<at::Tensor>{activate_backward(pass.gradient, pass.saved[0], f)};
      });
}

at::Tensor gated(const at::Tensor& gate, const at::Tensor& up, Activation f) {
  if (f == Activation::kSilu) return swiglu(gate, up);
  if (!use_fused(gate)) return composite::gated(gate, up, f);
  if (gate.sizes() != up.sizes() || gate.scalar_type() != up.scalar_type()) {
    throw InternalError("kernels::gated: gate and up of one shape and dtype are expected");
  }
  const at::Tensor e = gate.contiguous(), u = up.contiguous();
  if (!records(e, u)) return gated_forward(e, u, f);
  return differentiable_again(
      {e, u}, [f](const std::vector<at::Tensor>& inputs) { return gated_forward(inputs[0], inputs[1], f); },
      [f](const BackwardPass& pass) { return gated_backward(pass, f); });
}

at::Tensor soft_cap(const at::Tensor& x, double cap) {
  if (!use_fused(x)) return composite::soft_cap(x, cap);
  const at::Tensor in = x.contiguous();
  if (!records(in)) return soft_cap_forward(in, cap);
  return differentiable({in}, [&]() -> ForwardPass {
    return {soft_cap_forward(in, cap), {in}, [cap](const BackwardPass& pass) {
              return std::vector<at::Tensor>{soft_cap_backward(pass.gradient, pass.saved[0], cap)};
            }};
  });
}

}  // namespace lowrank::kernels
