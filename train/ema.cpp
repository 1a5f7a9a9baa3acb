#include "lowrank/train/ema.h"

#include <algorithm>
#include <utility>

#include "lowrank/train/reductions.h"

namespace lowrank::train {

Ema::Ema(double decay, const at::Tensor& values) : decay_(decay), average_(values.detach().clone()) {}

void Ema::update(const at::Tensor& values, std::int64_t step) {
  const auto t = static_cast<double>(step);
  const auto rate = static_cast<float>(1 - std::min(decay_, (1 + t) / (10 + t)));
  float* mean = average_.mutable_data_ptr<float>();
  const float* now = values.const_data_ptr<float>();
  for_each_element(values.numel(), [=](std::int64_t i) { mean[i] += rate * (now[i] - mean[i]); });
}

void Ema::exchange(at::Tensor& values) {
  float* mean = average_.mutable_data_ptr<float>();
  float* now = values.mutable_data_ptr<float>();
  for_each_element(values.numel(), [=](std::int64_t i) { std::swap(mean[i], now[i]); });
}

}  // namespace lowrank::train
