#include <cmath>

#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/loops.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

void adamw_step(at::Tensor& param, const at::Tensor& grad, at::Tensor& exp_avg, at::Tensor& exp_avg_sq,
                std::int64_t step, const AdamWOptions& options) {
  for (const at::Tensor* t : {&std::as_const(param), &grad, &std::as_const(exp_avg), &std::as_const(exp_avg_sq)}) {
    if (t->scalar_type() != at::kFloat || t->numel() != param.numel() || !t->is_contiguous()) {
      throw InternalError("kernels::adamw_step: four contiguous fp32 buffers of one size are expected");
    }
  }
  const at::NoGradGuard no_grad;
  if (!use_fused(param)) return composite::adamw_step(param, grad, exp_avg, exp_avg_sq, step, options);
  loops::AdamWStep constants;
  constants.decay = 1 - options.lr * options.weight_decay;
  constants.beta1 = options.beta1;
  constants.beta2 = options.beta2;
  constants.eps = options.eps;
  constants.step_size = options.lr / (1 - std::pow(options.beta1, static_cast<double>(step)));
  constants.root_correction = std::sqrt(1 - std::pow(options.beta2, static_cast<double>(step)));
  float *const p = param.mutable_data_ptr<float>(), *const m = exp_avg.mutable_data_ptr<float>(),
               *const v = exp_avg_sq.mutable_data_ptr<float>();
  const float* const g = grad.const_data_ptr<float>();
  for_row_chunks(param.numel(), 1 << 14, [&](std::int64_t begin, std::int64_t end) {
    loops::adamw(p + begin, g + begin, m + begin, v + begin, end - begin, constants);
  });
}

}  // namespace lowrank::kernels
