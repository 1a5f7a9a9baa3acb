#include "lowrank/train/gradients.h"

#include <ATen/core/grad_mode.h>

namespace lowrank::train {

void divide_by_count(at::Tensor& gradients, std::int64_t count) {
  if (count <= 1) return;
  const at::NoGradGuard no_grad;
  gradients.div_(static_cast<double>(count));
}

void clip_gradients(at::Tensor& gradients, double norm, double max_norm) {
  if (max_norm <= 0) return;
  const double coefficient = max_norm / (norm + 1e-6);
  if (coefficient >= 1) return;
  const at::NoGradGuard no_grad;
  gradients.mul_(coefficient);
}

}  // namespace lowrank::train
