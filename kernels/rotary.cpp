
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/loops.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/profile.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

template <typename T>
using Turn = void (*)(const T* x, const float* cos, const float* sin, float sign, T* y, std::int64_t heads,
                      std::int64_t head_dim, std::int64_t half);

at::Tensor turn(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool interleaved, float sign) {
  const ProfileScope profiled(sign > 0 ? "rotary" : "rotary backward", 0, static_cast<double>(2 * x.nbytes()));
  const std::int64_t heads = x.size(1), head_dim = x.size(2), half = cos.size(1), row = heads * head_dim;
  at::Tensor y = x.new_empty(x.sizes());
  const float *const c = cos.const_data_ptr<float>(), *const s = sin.const_data_ptr<float>();
  with_element_type(x, [&](auto tag) {
    using T = decltype(tag);
    const T* const in = x.const_data_ptr<T>();
    T* const out = y.mutable_data_ptr<T>();
    for_row_chunks(x.size(0), 32, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const Turn<T> turn_row = interleaved ? Turn<T>(loops::rotary_interleaved) : Turn<T>(loops::rotary);
        turn_row(in + i * row, c + i * half, s + i * half, sign, out + i * row, heads, head_dim, half);
      }
    });
  });
  return y;
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
  const bool interleaved = tables.interleaved;
  if (!records(in)) return turn(in, cos, sin, interleaved, 1);
  return differentiable({in}, [&]() -> ForwardPass {
    // A rotation's transpose is the rotation back. What is turned need not be kept, unless it is what makes the rest again.
    ForwardPass pass{turn(in, cos, sin, interleaved, 1), {cos, sin}, [interleaved](const BackwardPass& back) {
                       return std::vector<at::Tensor>{
                           turn(back.gradient.contiguous(), back.saved[0], back.saved[1], interleaved, -1)};
                     }};
    if (!made_again(in)) return pass;
    pass.saved.push_back(in);
    pass.again = [interleaved](const std::vector<at::Tensor>& saved) {
      return turn(saved[2], saved[0], saved[1], interleaved, 1);
    };
    return pass;
  });
}

}  // namespace lowrank::kernels
