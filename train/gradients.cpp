#include "lowrank/train/gradients.h"

#include "lowrank/train/reductions.h"

namespace lowrank::train {

void divide_by_count(at::Tensor& gradients, std::int64_t count) {
  if (count <= 1) return;
  float* g = gradients.mutable_data_ptr<float>();
  const float divisor = static_cast<float>(count);
  for_each_element(gradients.numel(), [=](std::int64_t i) { g[i] /= divisor; });
}

void clip_gradients(at::Tensor& gradients, double norm, double max_norm) {
  if (max_norm <= 0) return;
  const double coefficient = max_norm / (norm + 1e-6);
  if (coefficient >= 1) return;
  float* g = gradients.mutable_data_ptr<float>();
  const float factor = static_cast<float>(coefficient);
  for_each_element(gradients.numel(), [=](std::int64_t i) { g[i] *= factor; });
}

}  // namespace lowrank::train
