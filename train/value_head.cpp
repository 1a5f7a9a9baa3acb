#include "lowrank/train/value_head.h"

#include <ATen/core/grad_mode.h>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/ordered_product.h"

namespace lowrank::train {

ValueHead::ValueHead(std::int64_t width, at::Device device)
    : weight_(kernels::aten::zeros({1, width}, at::TensorOptions(at::kFloat).device(device)).requires_grad_(true)) {}

std::vector<double> ValueHead::values(const at::Tensor& hidden) const {
  const at::Tensor rows = hidden.detach().to(at::kFloat);
  return kernels::to_host<double>(kernels::ordered_product(rows, weight_.detach().t()));
}

void ValueHead::backward(const at::Tensor& hidden, const std::vector<double>& slopes) {
  at::Tensor by_hidden;
  {
    const at::NoGradGuard no_grad;
    const at::Tensor rows = hidden.detach().to(at::kFloat), weight = weight_.detach();
    const at::Tensor slope = kernels::from_host<double>(slopes, {1, rows.size(0)}, rows.device());
    by_hidden = slope.t().to(at::kFloat).mul(weight);
    if (!weight_.grad().defined()) weight_.mutable_grad() = kernels::aten::zeros(weight.sizes(), weight.options());
    weight_.mutable_grad().add_(kernels::ordered_product(slope, rows).to(at::kFloat));
  }
  if (!hidden.requires_grad()) return;  // nothing below the head is trained
  hidden.backward(by_hidden.to(hidden.scalar_type()));
}

}  // namespace lowrank::train
