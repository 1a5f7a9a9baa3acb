#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/loops.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kChunk = 16;

std::pair<at::Tensor, at::Tensor> norm_forward(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const std::int64_t n = weight.size(0), rows = x.numel() / n;
  at::Tensor y = at::empty_like(x), inverse = at::empty({rows}, x.options().dtype(wide_dtype(x)));
  with_element_type(x, [&](auto tag) {
    using T = decltype(tag);
    const T* const in = x.const_data_ptr<T>();
    const T* const w = weight.const_data_ptr<T>();
    T* const out = y.mutable_data_ptr<T>();
    auto* const r = inverse.mutable_data_ptr<Wide<T>>();
    for_row_chunks(rows, kChunk, [&](std::int64_t begin, std::int64_t end) {
      loops::rms_norm(in + begin * n, w, out + begin * n, r + begin, end - begin, n, eps);
    });
  });
  return {y, inverse};
}

struct RmsNormFunction : torch::autograd::Function<RmsNormFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, double eps) {
    auto [y, inverse] = norm_forward(x, weight, eps);
    ctx->save_for_backward({x, weight, inverse});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &inverse = saved[2];
    const at::Tensor g = grads[0].contiguous();
    const std::int64_t n = weight.size(0), rows = x.numel() / n;
    at::Tensor dx = at::empty_like(x), partial;
    // The weight's gradient: a sum for each chunk of rows, then the chunks in order.
    const bool dw = ctx->needs_input_grad(1);
    if (dw) partial = at::zeros({(rows + kChunk - 1) / kChunk, n}, inverse.options());
    with_element_type(x, [&](auto tag) {
      using T = decltype(tag);
      const T *const gp = g.const_data_ptr<T>(), *const xp = x.const_data_ptr<T>();
      const T* const w = weight.const_data_ptr<T>();
      const auto* const r = inverse.const_data_ptr<Wide<T>>();
      T* const out = dx.mutable_data_ptr<T>();
      Wide<T>* const sums = dw ? partial.mutable_data_ptr<Wide<T>>() : nullptr;
      for_row_chunks(rows, kChunk, [&](std::int64_t begin, std::int64_t end) {
        loops::rms_norm_backward(gp + begin * n, xp + begin * n, w, r + begin, out + begin * n,
                                 dw ? sums + begin / kChunk * n : nullptr, end - begin, n);
      });
    });
    variable_list result{dx, at::Tensor(), at::Tensor()};
    if (dw) {
      result[1] = at::empty_like(weight);
      for_row_chunks(n, 64, [&](std::int64_t begin, std::int64_t end) {
        result[1].narrow(0, begin, end - begin).copy_(partial.narrow(1, begin, end - begin).sum(0));
      });
    }
    return result;
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (!use_fused(x)) return composite::rms_norm(x, weight, eps);
  if (weight.dim() != 1 || x.dim() == 0 || x.size(-1) != weight.size(0)) {
    throw InternalError("kernels::rms_norm: x [..., d] and weight [d] are expected");
  }
  const at::Tensor in = x.contiguous(), w = weight.to(x.scalar_type()).contiguous();
  if (records(in, w)) return RmsNormFunction::apply(in, w, eps);
  return norm_forward(in, w, eps).first;
}

}  // namespace lowrank::kernels
