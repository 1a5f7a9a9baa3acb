#include "lowrank/kernels/convolution.h"

#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/im2col.h>
#include <ATen/ops/pad.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kSamples = 8;  // whose gradients are one partial sum

// The convolution proper takes zeros alone, the same before and after; x is padded beforehand for the rest.
struct Plain {
  at::Tensor x;
  std::vector<std::int64_t> padding;  // [D]
};

Plain plain(const at::Tensor& x, const ConvShape& shape) {
  const std::size_t dims = shape.stride.size();
  bool symmetric = shape.padding_mode == "constant", none = true;
  for (std::size_t i = 0; i < dims; ++i) {
    symmetric = symmetric && shape.padding[2 * i] == shape.padding[2 * i + 1];
    none = none && shape.padding[2 * i] == 0 && shape.padding[2 * i + 1] == 0;
  }
  Plain result{x, std::vector<std::int64_t>(dims, 0)};
  if (none) return result;
  if (symmetric) {
    for (std::size_t i = 0; i < dims; ++i) result.padding[i] = shape.padding[2 * (dims - 1 - i)];
  } else {
    result.x = at::pad(x, shape.padding, shape.padding_mode);
  }
  return result;
}

std::optional<at::Tensor> optional(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional<at::Tensor>(tensor) : std::nullopt;
}

at::Tensor forward_pass(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const ConvShape& shape,
                        const std::vector<std::int64_t>& padding) {
  const std::vector<std::int64_t> zeros(padding.size(), 0);
  return at::convolution(x, weight, optional(bias), shape.stride, padding, shape.dilation, false, zeros, shape.groups);
}

// The shape of a convolution over one dimension as one over two, the first of which has a single place.
struct Plane {
  std::vector<std::int64_t> kernel, stride, dilation, padding;
};

Plane plane(const at::Tensor& weight, std::vector<std::int64_t> stride, std::vector<std::int64_t> dilation,
            std::vector<std::int64_t> padding) {
  Plane result{weight.sizes().slice(2).vec(), std::move(stride), std::move(dilation), std::move(padding)};
  if (result.kernel.size() == 1) {
    for (auto* numbers : {&result.kernel, &result.stride, &result.dilation}) numbers->insert(numbers->begin(), 1);
    result.padding.insert(result.padding.begin(), 0);
  }
  return result;
}

// Gradient of the weight [out, in / groups, k…] from some samples, by one thread: Σ g · columns(x)ᵀ. Not by LibTorch's
// own (oneDNN's threads wait for each other, and inside a parallel region there is only one).
at::Tensor weight_gradient(const at::Tensor& g, const at::Tensor& x, const at::Tensor& weight, const Plane& p,
                           std::int64_t groups) {
  const at::ScalarType wide = wide_dtype(x);
  const std::int64_t samples = x.size(0), out = weight.size(0) / groups, in = weight.numel() / weight.size(0);
  const at::Tensor places = x.dim() == 3 ? x.unsqueeze(2) : x;
  const at::Tensor columns =
      at::im2col(places.to(wide), p.kernel, p.dilation, p.padding, p.stride).view({samples, groups, in, -1});
  const at::Tensor gradients = g.to(wide).view({samples, groups, out, -1});
  at::Tensor sum = at::zeros({groups, out, in}, columns.options());
  for (std::int64_t n = 0; n < samples; ++n)
    for (std::int64_t k = 0; k < groups; ++k) sum[k].addmm_(gradients[n][k], columns[n][k].t());
  return sum.view(weight.sizes()).to(weight.scalar_type());
}

std::vector<at::Tensor> backward_pass(const BackwardPass& pass, const ConvShape& shape, bool has_bias,
                                      const std::vector<std::int64_t>& padding) {
  const at::Tensor &x = pass.saved[0], &weight = pass.saved[1], g = pass.gradient.contiguous();
  const bool with_weight = pass.needs(1), with_bias = has_bias && pass.needs(2);
  const std::vector<std::int64_t> zeros(padding.size(), 0);

  at::Tensor dx, dweight, dbias;
  if (pass.needs(0))
    dx = std::get<0>(at::convolution_backward(g, x, weight, at::OptionalIntArrayRef(), shape.stride, padding,
                                              shape.dilation, false, zeros, shape.groups, {true, false, false}));
  if (with_weight || with_bias) {
    const std::int64_t samples = x.size(0), parts = std::max<std::int64_t>(1, (samples + kSamples - 1) / kSamples);
    const Plane p = plane(weight, shape.stride, shape.dilation, padding);
    std::vector<at::Tensor> weights(static_cast<std::size_t>(parts)), biases(weights.size());
    for_row_chunks(samples, kSamples, [&](std::int64_t begin, std::int64_t end) {
      const auto part = static_cast<std::size_t>(begin / kSamples);
      const at::Tensor gradient = g.narrow(0, begin, end - begin);
      if (with_weight)
        weights[part] = weight_gradient(gradient, x.narrow(0, begin, end - begin), weight, p, shape.groups);
      if (with_bias) biases[part] = gradient.flatten(2).sum(at::IntArrayRef({0, 2}));
    });
    const auto total = [](std::vector<at::Tensor>& sums) {
      for (std::size_t i = 1; i < sums.size(); ++i) sums[0].add_(sums[i]);
      return sums[0];
    };
    if (with_weight) dweight = samples == 0 ? weight.new_zeros(weight.sizes()) : total(weights);
    if (with_bias) dbias = samples == 0 ? weight.new_zeros({weight.size(0)}) : total(biases);
  }
  return {dx, dweight, dbias};
}

}  // namespace

at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const ConvShape& shape) {
  if (!use_fused(x)) return composite::convolution(x, weight, bias, shape);
  const Plain input = plain(x, shape);
  const bool has_bias = bias.defined();
  if (!records(x, weight) && !(has_bias && records(bias)))
    return forward_pass(input.x, weight, bias, shape, input.padding);
  std::vector<at::Tensor> inputs{input.x, weight};
  if (has_bias) inputs.push_back(bias);
  return differentiable(inputs, [&]() -> ForwardPass {
    return {forward_pass(input.x, weight, bias, shape, input.padding),
            {input.x, weight},
            [shape, has_bias, padding = input.padding](const BackwardPass& pass) {
              return backward_pass(pass, shape, has_bias, padding);
            }};
  });
}

at::Tensor composite::convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                  const ConvShape& shape) {
  const Plain input = plain(x, shape);
  return forward_pass(input.x, weight, bias, shape, input.padding);
}

}  // namespace lowrank::kernels
