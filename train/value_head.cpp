#include "lowrank/train/value_head.h"

#include <ATen/core/grad_mode.h>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::train {

ValueHead::ValueHead(std::int64_t width) : weight_(kernels::aten::zeros({width}, at::kFloat).requires_grad_(true)) {}

std::vector<double> ValueHead::values(const at::Tensor& hidden) const {
  const at::Tensor rows = hidden.detach().to(at::kFloat).contiguous();
  const at::Tensor weight = weight_.detach();
  const float* x = rows.const_data_ptr<float>();
  const float* w = weight.const_data_ptr<float>();
  const std::int64_t width = rows.size(1);
  std::vector<double> result(static_cast<std::size_t>(rows.size(0)));
  kernels::for_row_chunks(rows.size(0), 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      double sum = 0;
      for (std::int64_t j = 0; j < width; ++j) sum += double{x[i * width + j]} * double{w[j]};
      result[static_cast<std::size_t>(i)] = sum;
    }
  });
  return result;
}

void ValueHead::backward(const at::Tensor& hidden, const std::vector<double>& slopes) {
  const std::int64_t count = hidden.size(0), width = hidden.size(1);
  const at::Tensor rows = hidden.detach().to(at::kFloat).contiguous();
  const at::Tensor weight = weight_.detach();
  const float* x = rows.const_data_ptr<float>();
  const float* w = weight.const_data_ptr<float>();
  at::Tensor by_hidden = kernels::aten::empty({count, width}, at::kFloat);
  float* to = by_hidden.data_ptr<float>();
  kernels::for_row_chunks(count, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto slope = static_cast<float>(slopes[static_cast<std::size_t>(i)]);
      for (std::int64_t j = 0; j < width; ++j) to[i * width + j] = slope * w[j];
    }
  });
  if (!weight_.grad().defined()) weight_.mutable_grad() = kernels::aten::zeros({width}, at::kFloat);
  float* gradient = weight_.grad().data_ptr<float>();
  // By columns: each is summed over the tokens in their order.
  kernels::for_row_chunks(width, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t j = begin; j < end; ++j) {
      double sum = 0;
      for (std::int64_t i = 0; i < count; ++i) sum += slopes[static_cast<std::size_t>(i)] * double{x[i * width + j]};
      gradient[j] += static_cast<float>(sum);
    }
  });
  hidden.backward(by_hidden.to(hidden.scalar_type()));
}

}  // namespace lowrank::train
