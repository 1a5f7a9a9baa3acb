#include "lowrank/lora/conv_slot.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/random.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/low_rank_product.h"
#include "lowrank/lora/delta.h"
#include "lowrank/lora/init.h"

namespace lowrank::lora {
namespace {

std::vector<std::int64_t> shape_of_a(const at::Tensor& weight, std::int64_t groups, std::int64_t r) {
  std::vector<std::int64_t> shape = weight.sizes().vec();
  shape[0] = r;
  shape[1] *= groups;
  return shape;
}

std::vector<std::int64_t> shape_of_b(const at::Tensor& weight, std::int64_t groups, std::int64_t r) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(weight.dim()), 1);
  shape[0] = weight.size(0);
  shape[1] = r / groups;
  return shape;
}

// The kernel's shape without groups, from A [r, in, k…] and B [out, …].
std::vector<std::int64_t> dense_shape(const LoraMatrices& matrices) {
  std::vector<std::int64_t> shape = matrices.a.sizes().vec();
  shape[0] = matrices.b.size(0);
  return shape;
}

// Group g's share: rows of A and B as the matrices of a linear layer.
LoraMatrices group_of(const LoraMatrices& matrices, std::int64_t groups, std::int64_t g) {
  const std::int64_t r = matrices.r / groups, out = matrices.b.size(0) / groups;
  return {matrices.a.detach().flatten(1).narrow(0, g * r, r), matrices.b.detach().flatten(1).narrow(0, g * out, out), r,
          matrices.scale, 0};
}

// x with elements of the adapter's input dropped; recorded by autograd.
at::Tensor dropped(const at::Tensor& x, double p, const std::string& path, const kernels::DropoutContext& dropout) {
  const auto key = core::RandomStream(dropout.seed, "dropout:" + path).key();
  const at::Tensor ones = x.new_ones(x.sizes()).flatten(1);
  return x.mul(kernels::apply_dropout(ones, p, key, dropout.step, dropout.token_in_step).view(x.sizes()));
}

}  // namespace

LoraMatrices new_conv_matrices(const std::string& name, const at::Tensor& weight, std::int64_t groups, std::int64_t r,
                               const std::string& init, std::uint64_t seed) {
  if (r % groups != 0)
    throw ConfigError(
        fmt::format("{} is a convolution of {} groups, so its rank must be a multiple of {}, and {} is none", name,
                    groups, groups, r));
  const at::ScalarType dtype = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const std::vector<std::int64_t> a = shape_of_a(weight, groups, r);
  std::int64_t fan_in = 1;
  for (std::size_t i = 1; i < a.size(); ++i) fan_in *= a[i];
  LoraMatrices matrices = new_matrices(name, fan_in, weight.size(0), r, init, seed, weight.options().dtype(dtype));
  matrices.a = matrices.a.detach().view(a).set_requires_grad(true);
  matrices.b =
      kernels::aten::zeros(shape_of_b(weight, groups, r), weight.options().dtype(dtype)).set_requires_grad(true);
  return matrices;
}

at::Tensor conv_delta(const LoraMatrices& matrices, std::int64_t groups) {
  const at::Tensor a = matrices.a.reshape({groups, matrices.r / groups, -1});
  const at::Tensor b = matrices.b.reshape({groups, -1, matrices.r / groups});
  return kernels::low_rank_product(b, a).mul(matrices.scale).view(dense_shape(matrices));
}

at::Tensor without_groups(const at::Tensor& weight, std::int64_t groups) {
  if (groups == 1) return weight;
  const std::int64_t out = weight.size(0) / groups, in = weight.size(1);
  std::vector<std::int64_t> shape = weight.sizes().vec();
  shape[1] *= groups;
  at::Tensor dense = kernels::aten::zeros(shape, weight.options());
  for (std::int64_t g = 0; g < groups; ++g)
    dense.narrow(0, g * out, out).narrow(1, g * in, in).copy_(weight.detach().narrow(0, g * out, out));
  return dense;
}

ConvSlotImpl::ConvSlotImpl(std::string path, at::Tensor weight, at::Tensor bias, kernels::ConvShape shape)
    : path_(std::move(path)), weight_(std::move(weight)), bias_(std::move(bias)), shape_(std::move(shape)) {}

at::Tensor ConvSlotImpl::forward(const at::Tensor& x, const kernels::DropoutContext* dropout) {
  if (x.dim() == weight_.dim() - 1) return forward(x.unsqueeze(0), dropout).squeeze(0);
  if (x.dim() != weight_.dim() || x.size(1) != in_channels())
    throw ConfigError(
        fmt::format("{} is a convolution of {} channels over {} dimensions, and its input has the shape [{}]", path_,
                    in_channels(), weight_.dim() - 2, fmt::join(x.sizes(), ", ")));
  if (!enabled()) return kernels::convolution(x, weight_, bias_, shape_);
  if (merged()) {
    if (dropout != nullptr || (at::GradMode::is_enabled() && x.requires_grad()))
      throw ConfigError(
          fmt::format("{} is merged, and its adapter cannot be trained like that; call unmerge() first", path_));
    kernels::ConvShape shape = shape_;
    shape.groups = 1;
    return kernels::convolution(x, merged_, bias_, shape);
  }
  at::Tensor input = x.to(lora_.a.scalar_type());  // PEFT computes the adapter in its own dtype
  if (dropout != nullptr && lora_.dropout > 0) input = dropped(input, lora_.dropout, path_, *dropout);
  kernels::ConvShape down = shape_, up;
  down.groups = 1;
  const std::size_t dims = shape_.stride.size();
  up.stride.assign(dims, 1);
  up.dilation.assign(dims, 1);
  up.padding.assign(2 * dims, 0);
  up.groups = shape_.groups;
  const at::Tensor low = kernels::convolution(input, lora_.a, {}, down);
  const at::Tensor delta = kernels::convolution(low, lora_.b, {}, up).mul(lora_.scale);
  return kernels::convolution(x, weight_, bias_, shape_).add(delta).to(x.scalar_type());
}

void ConvSlotImpl::attach(LoraMatrices matrices) {
  if (adapted()) throw ConfigError(fmt::format("{} already carries an adapter; detach it first", path_));
  const std::int64_t groups = shape_.groups, r = matrices.r;
  if (r % groups != 0 || matrices.a.sizes() != at::IntArrayRef(shape_of_a(weight_, groups, r)) ||
      matrices.b.sizes() != at::IntArrayRef(shape_of_b(weight_, groups, r)))
    throw ModelError(fmt::format("{}: lora_A must be [{}] and lora_B [{}]", path_,
                                 fmt::join(shape_of_a(weight_, groups, r), ", "),
                                 fmt::join(shape_of_b(weight_, groups, r), ", ")));
  lora_ = std::move(matrices);
  enabled_ = true;
}

void ConvSlotImpl::detach() {
  unmerge();
  lora_ = LoraMatrices();
}

void ConvSlotImpl::merge() {
  if (!enabled() || merged()) return;
  const at::NoGradGuard no_grad;
  const at::Tensor base = without_groups(weight_.detach(), shape_.groups).flatten(1);
  const std::int64_t out = base.size(0) / shape_.groups;
  at::Tensor sum = kernels::aten::zeros(base.sizes(), base.options());
  for (std::int64_t g = 0; g < shape_.groups; ++g) {
    const at::Tensor rows = base.narrow(0, g * out, out);
    sum.narrow(0, g * out, out).copy_(merged_rows(rows, group_of(lora_, shape_.groups, g), 0, out));
  }
  merged_ = sum.view(dense_shape(lora_));
}

at::Tensor ConvSlotImpl::delta_weight() const {
  if (!adapted()) throw InternalError(path_ + " has no adapter");
  const at::NoGradGuard no_grad;
  const std::int64_t out = out_channels() / shape_.groups;
  at::Tensor delta =
      kernels::aten::zeros({out_channels(), lora_.a.flatten(1).size(1)}, lora_.a.options().dtype(at::kFloat));
  for (std::int64_t g = 0; g < shape_.groups; ++g)
    delta.narrow(0, g * out, out).copy_(delta_rows(group_of(lora_, shape_.groups, g), 0, out));
  return delta.view(dense_shape(lora_));
}

}  // namespace lowrank::lora
