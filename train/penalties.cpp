#include "lowrank/train/penalties.h"

#include <ATen/core/grad_mode.h>

#include <unordered_map>

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

Penalties::Penalties(FlatParameters& parameters, const std::vector<Penalised>& penalised) : parameters_(parameters) {
  std::unordered_map<const void*, at::Tensor> origins;
  for (const Penalised& one : penalised) origins.emplace(one.parameter.unsafeGetTensorImpl(), one.origin);
  for (std::size_t i = 0; i < parameters.parameters().size(); ++i) {
    const at::Tensor& tensor = parameters.parameters()[i].tensor;
    const auto found = origins.find(tensor.unsafeGetTensorImpl());
    if (found == origins.end()) continue;
    const std::int64_t begin = parameters.offset(i), end = begin + tensor.numel();
    const at::Tensor& origin = found->second;
    if (!origin.defined() && !ranges_.empty() && !ranges_.back().origin.defined() && ranges_.back().end == begin) {
      ranges_.back().end = end;
    } else {
      ranges_.push_back({begin, end, origin.defined() ? origin.detach().contiguous().view({-1}) : at::Tensor()});
    }
  }
}

at::Tensor Penalties::values(const Range& range) const {
  return parameters_.values().narrow(0, range.begin, range.end - range.begin);
}

at::Tensor Penalties::departure(const Range& range) const {
  return range.origin.defined() ? values(range).sub(range.origin) : values(range);
}

double Penalties::value(double l1, double l2) const {
  double penalty = 0;
  if (l1 == 0 && l2 == 0) return penalty;
  for (const Range& range : ranges_) penalty += penalty_value(departure(range), l1, l2);
  return penalty;
}

void Penalties::add_l2_gradient(double l2) const {
  for (const Range& range : ranges_) {
    kernels::add_scaled(parameters_.gradients().narrow(0, range.begin, range.end - range.begin), departure(range), l2);
  }
}

void Penalties::shrink(double threshold) const {
  const at::NoGradGuard no_grad;
  for (const Range& range : ranges_) {
    const at::Tensor away = departure(range);
    kernels::soft_threshold(away, threshold);
    if (range.origin.defined()) values(range).copy_(range.origin.add(away));
  }
}

double Penalties::share_of_zeros() const {
  std::int64_t zeros = 0, all = 0;
  for (const Range& range : ranges_) {
    zeros += kernels::count_zeros(departure(range));
    all += range.end - range.begin;
  }
  return all == 0 ? 0 : static_cast<double>(zeros) / static_cast<double>(all);
}

}  // namespace lowrank::train
