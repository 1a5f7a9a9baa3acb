#include "lowrank/train/ema.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "lowrank/kernels/flat_buffer.h"

namespace lowrank::train {

Ema::Ema(double decay, const at::Tensor& values) : decay_(decay), average_(values.detach().clone()) {}

void Ema::update(const at::Tensor& values, std::int64_t step) {
  const auto t = static_cast<double>(step);
  kernels::approach(average_, values, 1 - std::min(decay_, (1 + t) / (10 + t)));
}

void Ema::exchange(at::Tensor& values) {
  constexpr std::int64_t kPart = 1 << 20;  // numbers that are there a third time meanwhile
  const at::NoGradGuard no_grad;
  for (std::int64_t begin = 0; begin < values.numel(); begin += kPart) {
    const std::int64_t count = std::min(kPart, values.numel() - begin);
    const at::Tensor now = values.narrow(0, begin, count), mean = average_.narrow(0, begin, count), kept = now.clone();
    now.copy_(mean);
    mean.copy_(kept);
  }
}

}  // namespace lowrank::train
