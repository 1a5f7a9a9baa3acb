#include "device/cuda_kernels.h"

#include "device/memory.h"
#include "lowrank/kernels/cuda/codes.cuh"
#include "lowrank/kernels/cuda/cuda_kernels.h"
#include "lowrank/kernels/cuda/dropout.cuh"

namespace test_device {
namespace {

int so_far = 0;

template <typename... Addresses>
void open(Opening& opening, const LowrankCudaTarget& to, Addresses... addresses) {
  ++so_far;
  opening.add(to.values);
  (opening.add(addresses), ...);
}

int nf4(const LowrankCudaNf4* w, const LowrankCudaTarget* to) {
  Opening opening;
  open(opening, *to, w->codes, w->absmax, w->scales, w->offset, w->values, w->map);
  return lowrank::kernels::cuda::nf4(*w, *to, nullptr);
}
int int8(const LowrankCudaInt8* w, const LowrankCudaTarget* to) {
  Opening opening;
  open(opening, *to, w->codes, w->scales);
  return lowrank::kernels::cuda::int8(*w, *to, nullptr);
}
int mxfp4(const LowrankCudaMxfp4* w, const LowrankCudaTarget* to) {
  Opening opening;
  open(opening, *to, w->blocks, w->scales, w->values);
  return lowrank::kernels::cuda::mxfp4(*w, *to, nullptr);
}
int dropout(const LowrankCudaDropout* of, const LowrankCudaTarget* to) {
  Opening opening;
  open(opening, *to, of->x, of->token);
  return lowrank::kernels::cuda::dropout(*of, *to, nullptr);
}
const char* text(int) { return "none of these fails"; }

const LowrankCuda functions = {LOWRANK_CUDA_MODULE_VERSION, &nf4, &int8, &mxfp4, &dropout, &text};

}  // namespace

CudaKernels::CudaKernels() { lowrank::kernels::take_cuda_kernels(&functions); }
CudaKernels::~CudaKernels() { lowrank::kernels::take_cuda_kernels(nullptr); }

int CudaKernels::runs() { return so_far; }

}  // namespace test_device
