// What nvcc builds of the module, for its other part, which g++ builds with LibTorch's headers.
#pragma once

#include "lowrank/kernels/cuda/cuda_module.h"

namespace lowrank::kernels::cuda {

/// As LowrankCuda has them; `stream`: a cudaStream_t of the current device.
int run_nf4(const LowrankCudaNf4& weight, const LowrankCudaTarget& to, void* stream);
int run_int8(const LowrankCudaInt8& weight, const LowrankCudaTarget& to, void* stream);
int run_mxfp4(const LowrankCudaMxfp4& weight, const LowrankCudaTarget& to, void* stream);
int run_dropout(const LowrankCudaDropout& of, const LowrankCudaTarget& to, void* stream);

}  // namespace lowrank::kernels::cuda
