#include "lowrank/kernels/gemm/few_rows.h"

#include <algorithm>
#include <variant>

#include "lowrank/kernels/gemm.h"
#include "lowrank/kernels/gemm/panels.h"
#include "lowrank/kernels/gemm/product.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels::gemm {

bool takes_few(at::ScalarType dtype, std::int64_t rows) {
  return rows > 0 && !takes(dtype, rows) && takes(dtype, kFewestRows);
}

namespace {

Dots dots_of(const at::Tensor& y, const at::Tensor& x) {
  Dots dots;
  dots.x = x.const_data_ptr<float>();
  dots.x_step = x.stride(0);
  dots.y = y.mutable_data_ptr<float>();
  dots.y_step = y.stride(0);
  dots.rows = x.size(0), dots.columns = y.size(1), dots.inner = x.size(1);
  return dots;
}

}  // namespace

void dot_products(const at::Tensor& y, const at::Tensor& x, const at::Tensor& w, double scale, bool accumulate) {
  Dots dots = dots_of(y, x);
  dots.w = w.const_data_ptr();
  dots.element = element_of(w);
  dots.w_step = w.stride(0);
  dots.scale = static_cast<float>(scale);
  dots.accumulate = accumulate;
  micro_kernel().dots(dots);
}

void dot_products(const at::Tensor& y, const at::Tensor& x, const BaseWeight& w, std::int64_t begin) {
  Dots dots = dots_of(y, x);
  dots.codes = w.codes();
  dots.row = begin;
  if (!std::holds_alternative<std::monostate>(dots.codes)) return micro_kernel().dots(dots);
  const at::Tensor rows = w.rows(begin, y.size(1), panel_dtype(w));
  dot_products(y, x, rows.stride(1) == 1 ? rows : rows.contiguous());
}

void for_columns(std::int64_t columns, std::int64_t each, const std::function<void(std::int64_t, std::int64_t)>& f) {
  constexpr std::int64_t kFewest = 64, kTasks = 64;
  constexpr std::int64_t kAlone = 1 << 17;  // multiply-adds that take no longer than waking a thread
  if (columns * each <= kAlone) return for_row_chunks(columns, columns, f);
  for_row_chunks(columns, std::max(kFewest, round_up(ceil_div(columns, kTasks), kFewest)), f);
}

void multiply_few(const at::Tensor& out, const at::Tensor& x, const BaseWeight& w) {
  const at::Tensor left = converted(x, at::kFloat);
  for_columns(w.out_features(), x.size(0) * x.size(1), [&](std::int64_t begin, std::int64_t end) {
    dot_products(out.narrow(1, begin, end - begin), left, w, begin);
  });
}

}  // namespace lowrank::kernels::gemm
