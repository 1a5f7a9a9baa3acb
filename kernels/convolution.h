// Convolution with any padding mode, whose gradients do not depend on the number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace lowrank::kernels {

/// What a convolution over D dimensions does besides its weight.
struct ConvShape {
  std::vector<std::int64_t> stride, dilation;  // [D]
  std::vector<std::int64_t> padding;      // [2 D], as torch.nn.functional.pad: last dimension first, before and after
  std::string padding_mode = "constant";  // constant (zeros) | reflect | replicate | circular
  std::int64_t groups = 1;
};

/// x [N, in, …], weight [out, in / groups, …], bias [out] or undefined -> [N, out, …], as torch.nn.ConvNd.
/// Differentiable once in x, weight and bias. LibTorch's own gradient of the weight and the bias depends on the number
/// of threads: here it is summed over fixed groups of samples in their order.
at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const ConvShape& shape);

namespace composite {
at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const ConvShape& shape);
}

}  // namespace lowrank::kernels
