#include "lowrank/train/flat_parameters.h"

#include <ATen/core/grad_mode.h>

#include <cmath>
#include <cstring>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/train/reductions.h"

namespace lowrank::train {

FlatParameters::FlatParameters(std::vector<lora::NamedTensor> parameters) : parameters_(std::move(parameters)) {
  at::NoGradGuard no_grad;
  std::int64_t total = 0;
  for (const auto& [name, tensor] : parameters_) {
    if (!tensor.defined() || tensor.scalar_type() != at::kFloat || !tensor.is_cpu() || !tensor.is_leaf()) {
      throw InternalError("parameter " + name + " is not an fp32 leaf tensor on the CPU");
    }
    offsets_.push_back(total);
    total += tensor.numel();
  }
  if (total == 0) throw ConfigError("there is nothing to train: no parameter was given to the trainer");
  values_ = kernels::aten::empty({total}, at::kFloat);
  gradients_ = kernels::aten::zeros({total}, at::kFloat);
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    at::Tensor& tensor = parameters_[i].tensor;
    const auto shape = tensor.sizes().vec();
    at::Tensor place = values_.narrow(0, offsets_[i], tensor.numel()).view(shape);
    place.copy_(tensor);
    tensor.set_data(place);
    tensor.set_requires_grad(true);
    tensor.mutable_grad() = gradients_.narrow(0, offsets_[i], tensor.numel()).view(shape);
  }
}

std::int64_t FlatParameters::size() const { return values_.numel(); }

void FlatParameters::zero_gradients() {
  std::memset(gradients_.mutable_data_ptr<float>(), 0, static_cast<std::size_t>(size()) * sizeof(float));
}

void FlatParameters::check_aliasing() const {
  const float* values = values_.const_data_ptr<float>();
  const float* gradients = gradients_.const_data_ptr<float>();
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, tensor] = parameters_[i];
    const bool value_ok = tensor.const_data_ptr<float>() == values + offsets_[i] && tensor.is_contiguous();
    const at::Tensor& gradient = tensor.grad();
    const bool gradient_ok =
        gradient.defined() && gradient.const_data_ptr<float>() == gradients + offsets_[i] && gradient.is_contiguous();
    if (value_ok && gradient_ok) continue;
    throw InternalError(std::string(value_ok ? "the gradient of " : "") + name +
                        " is no longer a view of the trainer's buffer (zero_grad(), to() and set_data() break it)");
  }
}

double FlatParameters::gradient_norm() const {
  return std::sqrt(ordered_sum(gradients_.const_data_ptr<float>(), size(),
                               [](float g) { return static_cast<double>(g) * static_cast<double>(g); }));
}

bool FlatParameters::finite() const {
  // x - x is 0 for every finite x and NaN for the rest, and a NaN stays in the sum.
  return ordered_sum(values_.const_data_ptr<float>(), size(), [](float x) { return static_cast<double>(x - x); }) == 0;
}

}  // namespace lowrank::train
