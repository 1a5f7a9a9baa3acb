#include "lowrank/train/flat_parameters.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/flat_buffer.h"

namespace lowrank::train {
namespace {

/// Whether `tensor` is the elements of `buffer` from `offset` on.
bool views(const at::Tensor& tensor, const at::Tensor& buffer, std::int64_t offset) {
  return tensor.defined() && tensor.is_alias_of(buffer) && tensor.storage_offset() == offset && tensor.is_contiguous();
}

}  // namespace

FlatParameters::FlatParameters(std::vector<lora::NamedTensor> parameters) : parameters_(std::move(parameters)) {
  at::NoGradGuard no_grad;
  std::int64_t total = 0;
  for (const auto& [name, tensor] : parameters_) {
    if (!tensor.defined() || tensor.scalar_type() != at::kFloat || !tensor.is_leaf() ||
        tensor.device() != parameters_.front().tensor.device()) {
      throw InternalError("parameter " + name + " is not an fp32 leaf tensor on the device of the others");
    }
    offsets_.push_back(total);
    total += tensor.numel();
  }
  if (total == 0) throw ConfigError("there is nothing to train: no parameter was given to the trainer");
  const auto options = parameters_.front().tensor.options().requires_grad(false);
  values_ = kernels::aten::empty({total}, options);
  gradients_ = kernels::aten::zeros({total}, options);
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
  const at::NoGradGuard no_grad;
  gradients_.zero_();
}

void FlatParameters::check_aliasing() const {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, tensor] = parameters_[i];
    const bool value_ok = views(tensor, values_, offsets_[i]);
    if (value_ok && views(tensor.grad(), gradients_, offsets_[i])) continue;
    throw InternalError(std::string(value_ok ? "the gradient of " : "") + name +
                        " is no longer a view of the trainer's buffer (zero_grad(), to() and set_data() break it)");
  }
}

double FlatParameters::gradient_norm() const { return std::sqrt(kernels::sum_of_squares(gradients_)); }

bool FlatParameters::finite() const { return kernels::all_finite(values_); }

}  // namespace lowrank::train
