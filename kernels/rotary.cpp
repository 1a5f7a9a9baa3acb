
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/loops.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

at::Tensor turn(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, float sign) {
  const std::int64_t heads = x.size(1), head_dim = x.size(2), half = cos.size(1), row = heads * head_dim;
  at::Tensor y = x.new_empty(x.sizes());
  const float *const c = cos.const_data_ptr<float>(), *const s = sin.const_data_ptr<float>();
  with_element_type(x, [&](auto tag) {
    using T = decltype(tag);
    const T* const in = x.const_data_ptr<T>();
    T* const out = y.mutable_data_ptr<T>();
    for_row_chunks(x.size(0), 32, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        loops::rotary(in + i * row, c + i * half, s + i * half, sign, out + i * row, heads, head_dim, half);
      }
    });
  });
  return y;
}

// A rotation's transpose is the rotation back.
std::vector<at::Tensor> turn_back(const BackwardPass& pass) {
  return {turn(pass.gradient.contiguous(), pass.saved[0], pass.saved[1], -1)};
}

}  // namespace

at::Tensor rotary(const at::Tensor& x, const RotaryTables& tables) {
  if (!use_fused(x)) return composite::rotary(x, tables);
  if (x.dim() != 3 || tables.cos.dim() != 2 || tables.cos.size(0) != x.size(0) ||
      tables.cos.sizes() != tables.sin.sizes() || 2 * tables.cos.size(1) > x.size(2)) {
    throw InternalError("kernels::rotary: x [T, heads, head_dim] and tables [T, at most head_dim / 2] are expected");
  }
  const at::Tensor in = x.contiguous(), cos = tables.cos.to(at::kFloat).contiguous(),
                   sin = tables.sin.to(at::kFloat).contiguous();
  if (!records(in)) return turn(in, cos, sin, 1);
  return differentiable({in}, [&]() -> ForwardPass { return {turn(in, cos, sin, 1), {cos, sin}, turn_back}; });
}

}  // namespace lowrank::kernels
