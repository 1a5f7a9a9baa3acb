#include "lowrank/train/penalties.h"

#include <cmath>

#include "lowrank/train/reductions.h"

namespace lowrank::train {

double penalty_value(const at::Tensor& values, double l1, double l2) {
  const float* p = values.const_data_ptr<float>();
  double penalty = 0;
  if (l1 != 0)
    penalty += l1 * ordered_sum(p, values.numel(), [](float x) { return std::fabs(static_cast<double>(x)); });
  if (l2 != 0) {
    penalty += l2 / 2 *
               ordered_sum(p, values.numel(), [](float x) { return static_cast<double>(x) * static_cast<double>(x); });
  }
  return penalty;
}

void add_l2_gradient(at::Tensor& gradients, const at::Tensor& values, double l2) {
  float* g = gradients.mutable_data_ptr<float>();
  const float* p = values.const_data_ptr<float>();
  const float factor = static_cast<float>(l2);
  for_each_element(gradients.numel(), [=](std::int64_t i) { g[i] += factor * p[i]; });
}

void shrink(at::Tensor& values, double threshold) {
  float* p = values.mutable_data_ptr<float>();
  const float t = static_cast<float>(threshold);
  for_each_element(values.numel(), [=](std::int64_t i) {
    const float left = std::fabs(p[i]) - t;
    p[i] = left > 0 ? std::copysign(left, p[i]) : 0.0F;
  });
}

double share_of_zeros(const at::Tensor& values) {
  const double zeros =
      ordered_sum(values.const_data_ptr<float>(), values.numel(), [](float x) { return x == 0.0F ? 1.0 : 0.0; });
  return zeros / static_cast<double>(values.numel());
}

}  // namespace lowrank::train
