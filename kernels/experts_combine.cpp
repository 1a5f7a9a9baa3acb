#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/experts.h"
#include "lowrank/kernels/loops_experts.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kTokens = 16;  // of a task

at::Tensor combine_forward(const at::Tensor& y, const at::Tensor& weights, const ExpertRows& rows) {
  const std::int64_t width = y.size(1), k = rows.per_token;
  at::Tensor result = aten::empty({rows.tokens, width}, y.options());
  with_element_type(y, [&](auto tag) {
    using T = decltype(tag);
    const T *const from = y.const_data_ptr<T>(), *const w = weights.const_data_ptr<T>();
    T* const to = result.mutable_data_ptr<T>();
    for_row_chunks(rows.tokens, kTokens, [&](std::int64_t begin, std::int64_t end) {
      std::vector<Wide<T>> sum(static_cast<std::size_t>(width));
      for (std::int64_t t = begin; t < end; ++t) {
        loops::combine_rows<T>(from, rows.row.data() + t * k, w + t * k, k, width, sum.data(), to + t * width);
      }
    });
  });
  return result;
}

std::vector<at::Tensor> combine_backward(const BackwardPass& pass, const ExpertRows& rows) {
  const at::Tensor &y = pass.saved[0], &weights = pass.saved[1], g = pass.gradient.contiguous();
  const std::int64_t width = y.size(1), k = rows.per_token;
  at::Tensor dy = aten::empty(y.sizes(), y.options()), dw = aten::empty(weights.sizes(), weights.options());
  with_element_type(y, [&](auto tag) {
    using T = decltype(tag);
    const T *const from = y.const_data_ptr<T>(), *const w = weights.const_data_ptr<T>(),
                   *const up = g.const_data_ptr<T>();
    T *const to = dy.mutable_data_ptr<T>(), *const dots = dw.mutable_data_ptr<T>();
    for_row_chunks(rows.tokens, kTokens, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin * k; i < end * k; ++i) {
        const std::int64_t at = rows.row[static_cast<std::size_t>(i)] * width;
        dots[i] = static_cast<T>(loops::combine_row_backward<T>(up + i / k * width, from + at, w[i], width, to + at));
      }
    });
  });
  return {dy, dw};
}

// f(x's row, y's row) of raw values for each row, y of `columns` columns.
template <typename F>
at::Tensor by_rows(const at::Tensor& x, std::int64_t columns, const F& f) {
  at::Tensor y = aten::empty({x.size(0), columns}, x.options());
  with_element_type(x, [&](auto tag) {
    using T = decltype(tag);
    const T* const from = x.const_data_ptr<T>();
    T* const to = y.mutable_data_ptr<T>();
    for_row_chunks(x.size(0), kTokens, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) f(from + i * x.size(1), to + i * columns, i);
    });
  });
  return y;
}

at::Tensor clamped_forward(const at::Tensor& x, double alpha, double limit) {
  const std::int64_t width = x.size(1) / 2;
  return by_rows(x, width, [=](const auto* from, auto* to, std::int64_t) {
    loops::clamped_swiglu(from, to, width, alpha, limit);
  });
}

at::Tensor clamped_backward(const at::Tensor& gradient, const at::Tensor& x, double alpha, double limit) {
  const at::Tensor g = gradient.contiguous();
  const std::int64_t width = x.size(1) / 2;
  return by_rows(x, x.size(1), [&](const auto* from, auto* to, std::int64_t row) {
    using T = std::remove_pointer_t<decltype(to)>;
    loops::clamped_swiglu_backward(g.const_data_ptr<T>() + row * width, from, to, width, alpha, limit);
  });
}

}  // namespace

at::Tensor combine_experts(const at::Tensor& y, const at::Tensor& weights, const SharedRows& rows) {
  if (y.dim() != 2 || y.size(0) != rows->count() || weights.sizes() != at::IntArrayRef{rows->tokens, rows->per_token} ||
      y.scalar_type() != weights.scalar_type()) {
    throw InternalError("kernels::combine_experts: y [T K, d] and weights [T, K] of one dtype are expected");
  }
  if (!use_fused(y)) return composite::combine_experts(y, weights, rows);
  const at::Tensor values = y.contiguous(), factors = weights.contiguous();
  if (!records(values, factors)) return combine_forward(values, factors, *rows);
  return differentiable({values, factors}, [&]() -> ForwardPass {
    return {combine_forward(values, factors, *rows), {values, factors}, [rows](const BackwardPass& pass) {
              return combine_backward(pass, *rows);
            }};
  });
}

at::Tensor clamped_swiglu(const at::Tensor& x, double alpha, double limit) {
  if (x.dim() != 2 || x.size(1) % 2 != 0) throw InternalError("kernels::clamped_swiglu: x [N, 2 f] is expected");
  if (!use_fused(x)) return composite::clamped_swiglu(x, alpha, limit);
  const at::Tensor in = x.contiguous();
  if (!records(in)) return clamped_forward(in, alpha, limit);
  return differentiable_again(
      {in}, [=](const std::vector<at::Tensor>& inputs) { return clamped_forward(inputs[0], alpha, limit); },
      [=](const BackwardPass& pass) {
        return std::vector<at::Tensor>{clamped_backward(pass.gradient, pass.saved[0], alpha, limit)};
      });
}

}  // namespace lowrank::kernels
