// The kernels of lowrank_cuda.so where there is that module and a GPU; composite twins take their place elsewhere.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "lowrank/kernels/cuda/cuda_module.h"

namespace lowrank::kernels {

/// Those for tensors on this device; null: none, or composite twins are asked for. IoError for a module of another build.
const LowrankCuda* cuda_kernels(at::Device device);

/// Takes these for the tests' own device; null: none.
void take_cuda_kernels(const LowrankCuda* kernels);

/// [shape] in `dtype` on `device` as `fill` of these kernels fills it; undefined where there are none, or the dtype is neither fp32 nor
/// bf16. InternalError with CUDA's words where `fill` gives an error.
at::Tensor filled_by_cuda(at::IntArrayRef shape, at::ScalarType dtype, at::Device device,
                          const std::function<int(const LowrankCuda& kernels, const LowrankCudaTarget& to)>& fill);

}  // namespace lowrank::kernels
