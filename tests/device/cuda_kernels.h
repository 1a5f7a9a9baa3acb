// The kernels of kernels/cuda/ as the CPU runs them, thread after thread, in the memory of the tests' own device.
#pragma once

#include "lowrank/kernels/cuda/cuda_module.h"

namespace test_device {

/// Takes the place of lowrank_cuda.so while it lives.
class CudaKernels {
 public:
  CudaKernels();
  CudaKernels(const CudaKernels&) = delete;
  CudaKernels& operator=(const CudaKernels&) = delete;
  ~CudaKernels();
  /// How many were run.
  static int runs();
};

}  // namespace test_device
