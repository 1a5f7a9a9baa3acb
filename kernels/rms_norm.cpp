#include <string>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/loops.h"
#include "lowrank/kernels/norms.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/profile.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kChunk = 16;

// f(T{}, S{}): the element types of x and of the weight, which is x's or, in wide_rms_norm, what is computed in.
template <typename F>
void with_types(const at::Tensor& x, const at::Tensor& weight, const F& f) {
  with_element_type(x, [&](auto tag) {
    using T = decltype(tag);
    if (weight.scalar_type() == x.scalar_type()) return f(tag, tag);
    f(tag, Wide<T>{});
  });
}

std::pair<at::Tensor, at::Tensor> norm_forward(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const ProfileScope profiled("rms_norm", 0, static_cast<double>(2 * x.nbytes()));
  const std::int64_t n = weight.size(0), rows = x.numel() / n;
  at::Tensor y = x.new_empty(x.sizes()), inverse = aten::empty({rows}, x.options().dtype(wide_dtype(x)));
  with_types(x, weight, [&](auto tag, auto weight_tag) {
    using T = decltype(tag);
    const T* const in = x.const_data_ptr<T>();
    const auto* const w = weight.const_data_ptr<decltype(weight_tag)>();
    T* const out = y.mutable_data_ptr<T>();
    auto* const r = inverse.mutable_data_ptr<Wide<T>>();
    for_row_chunks(rows, kChunk, [&](std::int64_t begin, std::int64_t end) {
      loops::rms_norm(in + begin * n, w, out + begin * n, r + begin, end - begin, n, eps);
    });
  });
  return {y, inverse};
}

std::vector<at::Tensor> norm_backward(const BackwardPass& pass) {
  const at::Tensor &x = pass.saved[0], &weight = pass.saved[1], &inverse = pass.saved[2];
  const ProfileScope profiled("rms_norm backward", 0, static_cast<double>(3 * x.nbytes()));
  const at::Tensor g = pass.gradient.contiguous();
  const std::int64_t n = weight.size(0), rows = x.numel() / n;
  at::Tensor dx = x.new_empty(x.sizes()), partial;
  // The weight's gradient: a sum for each chunk of rows, then the chunks in order.
  const bool dw = pass.needs(1);
  if (dw) partial = aten::zeros({(rows + kChunk - 1) / kChunk, n}, inverse.options());
  with_types(x, weight, [&](auto tag, auto weight_tag) {
    using T = decltype(tag);
    const T *const gp = g.const_data_ptr<T>(), *const xp = x.const_data_ptr<T>();
    const auto* const w = weight.const_data_ptr<decltype(weight_tag)>();
    const auto* const r = inverse.const_data_ptr<Wide<T>>();
    T* const out = dx.mutable_data_ptr<T>();
    Wide<T>* const sums = dw ? partial.mutable_data_ptr<Wide<T>>() : nullptr;
    for_row_chunks(rows, kChunk, [&](std::int64_t begin, std::int64_t end) {
      loops::rms_norm_backward(gp + begin * n, xp + begin * n, w, r + begin, out + begin * n,
                               dw ? sums + begin / kChunk * n : nullptr, end - begin, n);
    });
  });
  std::vector<at::Tensor> result{dx, at::Tensor()};
  if (dw) {
    result[1] = weight.new_empty(weight.sizes());
    for_row_chunks(n, 64, [&](std::int64_t begin, std::int64_t end) {
      result[1].narrow(0, begin, end - begin).copy_(partial.narrow(1, begin, end - begin).sum(0));
    });
  }
  return result;
}

at::Tensor norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor in = x.contiguous(), w = weight.contiguous();
  if (records(in, w)) {
    return differentiable({in, w}, [&]() -> ForwardPass {
      auto [y, inverse] = norm_forward(in, w, eps);
      return {y, {in, w, inverse}, norm_backward, [eps](const std::vector<at::Tensor>& saved) {
                return norm_forward(saved[0], saved[1], eps).first;
              }};
    });
  }
  return norm_forward(in, w, eps).first;
}

void check(const at::Tensor& x, const at::Tensor& weight, const char* op) {
  if (weight.dim() == 1 && x.dim() != 0 && x.size(-1) == weight.size(0)) return;
  throw InternalError(std::string(op) + ": x [..., d] and weight [d] are expected");
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (!use_fused(x)) return composite::rms_norm(x, weight, eps);
  check(x, weight, "kernels::rms_norm");
  return norm(x, weight.to(x.scalar_type()), eps);
}

at::Tensor wide_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (!use_fused(x)) return composite::wide_rms_norm(x, weight, eps);
  check(x, weight, "kernels::wide_rms_norm");
  return norm(x, weight.to(wide_dtype(x)), eps);
}

}  // namespace lowrank::kernels
