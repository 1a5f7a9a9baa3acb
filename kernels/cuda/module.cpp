// lowrank_cuda.so: the kernels, on the stream that LibTorch computes on.
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "lowrank/kernels/cuda/cuda_module.h"
#include "lowrank/kernels/cuda/kernels.h"

namespace {

using namespace lowrank::kernels;

template <auto run, typename Of>
int on_stream(const Of* of, const LowrankCudaTarget* to) {
  const auto device = static_cast<c10::DeviceIndex>(to->device);
  const c10::cuda::CUDAGuard guard(device);
  return run(*of, *to, c10::cuda::getCurrentCUDAStream(device).stream());
}

const char* text(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

}  // namespace

extern "C" __attribute__((visibility("default"))) const LowrankCuda* lowrank_cuda(void) {
  static const LowrankCuda functions = {LOWRANK_CUDA_MODULE_VERSION, &on_stream<cuda::run_nf4, LowrankCudaNf4>,
                                        &on_stream<cuda::run_int8, LowrankCudaInt8>, &on_stream<cuda::run_mxfp4, LowrankCudaMxfp4>,
                                        &on_stream<cuda::run_dropout, LowrankCudaDropout>, &text};
  return &functions;
}
