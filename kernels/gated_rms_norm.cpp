#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/loops_state.h"
#include "lowrank/kernels/norms.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kChunk = 64;  // rows

struct Norm {
  at::Tensor y, inverse;
};

Norm forward_pass(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& gate, double eps) {
  const std::int64_t n = weight.size(0), rows = x.numel() / n;
  Norm result{x.new_empty(gate.sizes()), aten::empty({rows}, x.options().dtype(wide_dtype(x)))};
  with_element_type(x, [&](auto tag) {
    using T = decltype(tag);
    const T *const in = x.const_data_ptr<T>(), *const w = weight.const_data_ptr<T>();
    const T* const z = gate.const_data_ptr<T>();
    T* const out = result.y.mutable_data_ptr<T>();
    auto* const inverse = result.inverse.mutable_data_ptr<Wide<T>>();
    for_row_chunks(rows, kChunk, [&](std::int64_t begin, std::int64_t end) {
      loops::gated_rms_norm<T>(in + begin * n, w, z + begin * n, out + begin * n, inverse + begin, end - begin, n, eps);
    });
  });
  return result;
}

std::vector<at::Tensor> backward_pass(const BackwardPass& pass) {
  const at::Tensor &x = pass.saved[0], &weight = pass.saved[1], &gate = pass.saved[2], &inverse = pass.saved[3];
  const at::Tensor g = pass.gradient.contiguous();
  const std::int64_t n = weight.size(0), rows = x.numel() / n;
  at::Tensor dx = x.new_empty(x.sizes()), dw, dz = x.new_empty(gate.sizes());
  const bool with_weight = pass.needs(1);
  // A sum for each chunk of rows, then the chunks in order.
  const at::Tensor sums =
      with_weight ? aten::zeros({(rows + kChunk - 1) / kChunk, n}, inverse.options()) : at::Tensor();
  with_element_type(x, [&](auto tag) {
    using T = decltype(tag);
    const T *const gp = g.const_data_ptr<T>(), *const xp = x.const_data_ptr<T>(), *const z = gate.const_data_ptr<T>();
    const T* const w = weight.const_data_ptr<T>();
    T *const out = dx.mutable_data_ptr<T>(), *const by_gate = dz.mutable_data_ptr<T>();
    const auto* const r = inverse.const_data_ptr<Wide<T>>();
    auto* const by_weight = with_weight ? sums.mutable_data_ptr<Wide<T>>() : nullptr;
    for_row_chunks(rows, kChunk, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t at = begin * n;
      loops::gated_rms_norm_backward<T>(gp + at, xp + at, w, z + at, r + begin, out + at, by_gate + at,
                                        with_weight ? by_weight + begin / kChunk * n : nullptr, end - begin, n);
    });
  });
  if (with_weight) {
    dw = weight.new_empty(weight.sizes());
    for_row_chunks(n, 64, [&](std::int64_t begin, std::int64_t end) {
      dw.narrow(0, begin, end - begin).copy_(sums.narrow(1, begin, end - begin).sum(0));
    });
  }
  return {dx, dw, dz};
}

}  // namespace

at::Tensor gated_rms_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& gate, double eps) {
  if (!use_fused(x)) return composite::gated_rms_norm(x, weight, gate, eps);
  if (x.numel() != gate.numel() || x.scalar_type() != gate.scalar_type() || x.scalar_type() != weight.scalar_type() ||
      x.dim() == 0 || weight.sizes() != at::IntArrayRef{x.size(-1)}) {
    throw InternalError("kernels::gated_rms_norm: x [..., d], weight [d] and a gate of x's size, of one dtype, are expected");
  }
  const at::Tensor in = x.contiguous(), w = weight.contiguous(), z = gate.contiguous();
  if (!records(in, w, z)) return forward_pass(in, w, z, eps).y;
  return differentiable({in, w, z}, [&]() -> ForwardPass {
    const Norm norm = forward_pass(in, w, z, eps);
    return {norm.y, {in, w, z, norm.inverse}, backward_pass, [eps](const std::vector<at::Tensor>& saved) {
              return forward_pass(saved[0], saved[1], saved[2], eps).y;
            }};
  });
}

}  // namespace lowrank::kernels
