#include "lowrank/train/penalties.h"

#include "lowrank/kernels/flat_buffer.h"

namespace lowrank::train {

double penalty_value(const at::Tensor& values, double l1, double l2) {
  double penalty = 0;
  if (l1 != 0) penalty += l1 * kernels::sum_of_magnitudes(values);
  if (l2 != 0) penalty += l2 / 2 * kernels::sum_of_squares(values);
  return penalty;
}

void add_l2_gradient(at::Tensor& gradients, const at::Tensor& values, double l2) {
  kernels::add_scaled(gradients, values, l2);
}

void shrink(at::Tensor& values, double threshold) { kernels::soft_threshold(values, threshold); }

double share_of_zeros(const at::Tensor& values) {
  return static_cast<double>(kernels::count_zeros(values)) / static_cast<double>(values.numel());
}

}  // namespace lowrank::train
