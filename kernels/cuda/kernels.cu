// The kernels as nvcc builds them, by the stream they stand in: kernels/cuda/module.cpp has the rest of the module.
#include "lowrank/kernels/cuda/codes.cuh"
#include "lowrank/kernels/cuda/dropout.cuh"
#include "lowrank/kernels/cuda/kernels.h"

namespace lowrank::kernels::cuda {

int run_nf4(const LowrankCudaNf4& weight, const LowrankCudaTarget& to, void* stream) { return nf4(weight, to, static_cast<Stream>(stream)); }
int run_int8(const LowrankCudaInt8& weight, const LowrankCudaTarget& to, void* stream) { return int8(weight, to, static_cast<Stream>(stream)); }
int run_mxfp4(const LowrankCudaMxfp4& weight, const LowrankCudaTarget& to, void* stream) { return mxfp4(weight, to, static_cast<Stream>(stream)); }
int run_dropout(const LowrankCudaDropout& of, const LowrankCudaTarget& to, void* stream) { return dropout(of, to, static_cast<Stream>(stream)); }

}  // namespace lowrank::kernels::cuda
