#include "lowrank/kernels/convolution.h"

#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/pad.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>
#include <utility>

#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

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

struct ConvolutionFunction : torch::autograd::Function<ConvolutionFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                            bool has_bias, const ConvShape& shape, const std::vector<std::int64_t>& padding) {
    ctx->save_for_backward({x, weight});
    ctx->saved_data["stride"] = shape.stride;
    ctx->saved_data["dilation"] = shape.dilation;
    ctx->saved_data["padding"] = padding;
    ctx->saved_data["groups"] = shape.groups;
    ctx->saved_data["bias"] = has_bias;
    return forward_pass(x, weight, has_bias ? bias : at::Tensor(), shape, padding);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], g = grads[0].contiguous();
    const std::vector<std::int64_t> stride = ctx->saved_data["stride"].toIntVector();
    const std::vector<std::int64_t> dilation = ctx->saved_data["dilation"].toIntVector();
    const std::vector<std::int64_t> padding = ctx->saved_data["padding"].toIntVector();
    const std::int64_t groups = ctx->saved_data["groups"].toInt();
    const bool with_weight = ctx->needs_input_grad(1);
    const bool with_bias = ctx->saved_data["bias"].toBool() && ctx->needs_input_grad(2);
    const std::vector<std::int64_t> zeros(padding.size(), 0), bias_sizes = {weight.size(0)};
    const auto gradients = [&](const at::Tensor& gradient, const at::Tensor& input, std::array<bool, 3> wanted) {
      return at::convolution_backward(gradient, input, weight, bias_sizes, stride, padding, dilation, false, zeros,
                                      groups, wanted);
    };

    at::Tensor dx, dweight, dbias;
    if (ctx->needs_input_grad(0)) dx = std::get<0>(gradients(g, x, {true, false, false}));
    if (with_weight || with_bias) {
      const std::int64_t samples = x.size(0), parts = std::max<std::int64_t>(1, (samples + kSamples - 1) / kSamples);
      std::vector<at::Tensor> weights(static_cast<std::size_t>(parts)), biases(weights.size());
      for_row_chunks(samples, kSamples, [&](std::int64_t begin, std::int64_t end) {
        const auto part = static_cast<std::size_t>(begin / kSamples);
        auto sums = gradients(g.narrow(0, begin, end - begin), x.narrow(0, begin, end - begin),
                              {false, with_weight, with_bias});
        weights[part] = std::get<1>(sums);
        biases[part] = std::get<2>(sums);
      });
      const auto total = [](std::vector<at::Tensor>& sums) {
        for (std::size_t i = 1; i < sums.size(); ++i) sums[0].add_(sums[i]);
        return sums[0];
      };
      if (with_weight) dweight = samples == 0 ? weight.new_zeros(weight.sizes()) : total(weights);
      if (with_bias) dbias = samples == 0 ? weight.new_zeros(bias_sizes) : total(biases);
    }
    return {dx, dweight, dbias, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const ConvShape& shape) {
  if (!use_fused(x)) return composite::convolution(x, weight, bias, shape);
  const Plain input = plain(x, shape);
  const bool has_bias = bias.defined();
  if (!records(x, weight) && !(has_bias && records(bias)))
    return forward_pass(input.x, weight, bias, shape, input.padding);
  // An undefined tensor cannot be an input of a Function.
  return ConvolutionFunction::apply(input.x, weight, has_bias ? bias : at::empty({0}, weight.options()), has_bias,
                                    shape, input.padding);
}

at::Tensor composite::convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                  const ConvShape& shape) {
  const Plain input = plain(x, shape);
  return forward_pass(input.x, weight, bias, shape, input.padding);
}

}  // namespace lowrank::kernels
