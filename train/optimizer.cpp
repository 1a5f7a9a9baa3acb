#include "lowrank/train/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

namespace lowrank::train {

Optimizer::Optimizer(std::int64_t size, const kernels::AdamWOptions& options)
    : options_(options), exp_avg_(at::zeros({size}, at::kFloat)), exp_avg_sq_(at::zeros({size}, at::kFloat)) {}

void Optimizer::step(at::Tensor& values, const at::Tensor& gradients, std::int64_t step, double lr) {
  at::NoGradGuard no_grad;
  options_.lr = lr;
  kernels::adamw_step(values, gradients, exp_avg_, exp_avg_sq_, step, options_);
}

}  // namespace lowrank::train
