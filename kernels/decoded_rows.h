// Weights in codes that lie on a device are decoded there, by LibTorch's ops, to the bytes of the CPU's loops.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "lowrank/kernels/cuda/cuda_module.h"

namespace lowrank::kernels {

/// How a weight in codes is decoded on a device: some rows in fp32 [n, in] by LibTorch's ops, or values [first, first + count), row by
/// row, by a kernel of lowrank_cuda.so.
struct DecodedOnDevice {
  std::function<at::Tensor(std::int64_t begin, std::int64_t n)> by_ops;
  std::function<int(const LowrankCuda& kernels, std::int64_t first, std::int64_t count, const LowrankCudaTarget& to)> by_kernel;
};

/// Its rows [begin, begin + n), [n, in] in `dtype` on `device`: by a kernel where there is one, else by ops, a few rows at a time, so that
/// what these take besides is small and stays in the device's cache.
at::Tensor decoded_rows(std::int64_t begin, std::int64_t n, std::int64_t in, at::ScalarType dtype, at::Device device,
                        const DecodedOnDevice& decode);

/// int32 [2 n]: the two halves of each of these bytes [n], the upper one first or second.
at::Tensor halves(const at::Tensor& bytes, bool upper_first);

}  // namespace lowrank::kernels
