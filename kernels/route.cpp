#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>

#include "lowrank/kernels/lora_linear.h"
#include "lowrank/kernels/ops.h"

namespace lowrank::kernels {
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) { return composite::rms_norm(x, weight, eps); }
at::Tensor rotary(const at::Tensor& x, const RotaryTables& tables) { return composite::rotary(x, tables); }
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) { return composite::swiglu(gate, up); }
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Segments& segments,
                     const AttentionOptions& options) { return composite::attention(q, k, v, segments, options); }
at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels) {
  return composite::linear_cross_entropy(hidden, weight, labels);
}
void adamw_step(at::Tensor& param, const at::Tensor& grad, at::Tensor& exp_avg, at::Tensor& exp_avg_sq,
                std::int64_t step, const AdamWOptions& options) {
  composite::adamw_step(param, grad, exp_avg, exp_avg_sq, step, options);
}
}  // namespace lowrank::kernels
