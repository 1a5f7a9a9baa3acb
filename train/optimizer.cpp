#include "lowrank/train/optimizer.h"

#include <ATen/core/grad_mode.h>

#include <string>
#include <utility>

#include "lowrank/kernels/aten.h"

namespace lowrank::train {

std::vector<RateRange> rate_ranges(const std::vector<lora::NamedTensor>& parameters, double ratio) {
  std::vector<RateRange> ranges;
  std::int64_t begin = 0;
  for (const auto& [name, tensor] : parameters) {
    const bool other = name.find("lora_B") != std::string::npos || tensor.dim() == 1;
    const double factor = other ? ratio : 1;
    const std::int64_t end = begin + tensor.numel();
    if (!ranges.empty() && ranges.back().factor == factor) {
      ranges.back().end = end;
    } else {
      ranges.push_back({begin, end, factor});
    }
    begin = end;
  }
  return ranges;
}

AdamW::AdamW(const FlatParameters& parameters, const kernels::AdamWOptions& options, std::vector<RateRange> ranges)
    : options_(options),
      ranges_(std::move(ranges)),
      exp_avg_(kernels::aten::zeros({parameters.size()}, parameters.values().options())),
      exp_avg_sq_(kernels::aten::zeros({parameters.size()}, parameters.values().options())) {}

void AdamW::step(FlatParameters& parameters, std::int64_t step, double lr) {
  at::NoGradGuard no_grad;
  for (const RateRange& range : ranges_) {
    const auto part = [&](const at::Tensor& buffer) { return buffer.narrow(0, range.begin, range.end - range.begin); };
    at::Tensor value = part(parameters.values()), first = part(exp_avg_), second = part(exp_avg_sq_);
    options_.lr = lr * range.factor;
    kernels::adamw_step(value, part(parameters.gradients()), first, second, step, options_);
  }
}

std::vector<lora::NamedTensor> AdamW::state() const { return {{"exp_avg", exp_avg_}, {"exp_avg_sq", exp_avg_sq_}}; }

}  // namespace lowrank::train
