// One thread a value. A compiler without CUDA makes a loop of a launch: so tests run the kernels on the CPU, thread after thread.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__

#include <cuda_runtime.h>

namespace lowrank::kernels::cuda {
constexpr unsigned kThreads = 256;  // of a block
using Stream = cudaStream_t;
__device__ inline std::int64_t this_thread() { return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }
}  // namespace lowrank::kernels::cuda

#define LOWRANK_CUDA_LAUNCH(kernel, threads, stream, ...)                                                                       \
  ((threads) == 0 ? 0                                                                                                           \
                  : (kernel<<<static_cast<unsigned>(((threads) + kThreads - 1) / kThreads), kThreads, 0, stream>>>(__VA_ARGS__), \
                     static_cast<int>(cudaGetLastError())))

#else

#define __global__ inline
#define __device__

namespace lowrank::kernels::cuda {
constexpr unsigned kThreads = 256;
using Stream = void*;
inline std::int64_t current_thread = 0;
inline std::int64_t this_thread() { return current_thread; }
template <typename Run>
int in_turn(std::int64_t threads, const Run& run) {
  for (std::int64_t t = 0; t < (threads + kThreads - 1) / kThreads * kThreads; ++t) {
    current_thread = t;
    run();
  }
  return 0;
}
}  // namespace lowrank::kernels::cuda

#define LOWRANK_CUDA_LAUNCH(kernel, threads, stream, ...) ((void)(stream), in_turn(threads, [&] { kernel(__VA_ARGS__); }))

#endif

namespace lowrank::kernels::cuda {

/// A bf16 number as it lies in memory; conversions are c10::BFloat16's: to the nearest, halves to even, NaN to 0x7FC0.
struct Bf16 {
  std::uint16_t bits;
};

__device__ inline float wide(float x) { return x; }
__device__ inline float wide(Bf16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x.bits) << 16;
  float result;
  memcpy(&result, &bits, sizeof result);
  return result;
}
__device__ inline void store(float* to, float x) { *to = x; }
__device__ inline void store(Bf16* to, float x) {
  std::uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  to->bits = x != x ? std::uint16_t{0x7FC0} : static_cast<std::uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

}  // namespace lowrank::kernels::cuda
