// Weights in codes, decoded by a GPU. Each product and sum is rounded by itself (nvcc -fmad=false), as the CPU's are.
#pragma once

#include "lowrank/kernels/cuda/cuda_module.h"
#include "lowrank/kernels/cuda/launch.cuh"
#include "lowrank/kernels/weight_codes.h"

namespace lowrank::kernels::cuda {

template <typename T>
__global__ void decode_nf4(LowrankCudaNf4 w, T* to) {
  const std::int64_t i = this_thread();
  if (i >= w.count) return;
  const std::int64_t at = w.first + i, block = at / Nf4Codes::kBlock;
  const std::uint8_t pair = w.codes[at / 2];
  const float scale = w.map[w.absmax[block]] * w.scales[block / Nf4Codes::kSecondBlock] + *w.offset;
  store(to + i, w.values[at % 2 == 0 ? pair >> 4 : pair & 15] * scale);
}

template <typename T>
__global__ void decode_int8(LowrankCudaInt8 w, T* to) {
  const std::int64_t i = this_thread();
  if (i >= w.count) return;
  const std::int64_t at = w.first + i;
  store(to + i, static_cast<float>(w.codes[at]) * w.scales[at / w.in] * Int8Codes::kInverse);
}

template <typename T>
__global__ void decode_mxfp4(LowrankCudaMxfp4 w, T* to) {
  const std::int64_t i = this_thread();
  if (i >= w.count) return;
  const std::int64_t at = w.first + i;
  const std::uint8_t pair = w.blocks[at / 2];
  store(to + i, w.values[w.scales[at / Mxfp4Codes::kBlock] * 16 + (at % 2 == 0 ? pair & 15 : pair >> 4)]);
}

template <typename Weight, typename F>
int decode(const Weight& w, const LowrankCudaTarget& to, const F& launch) {
  return to.bf16 != 0 ? launch(w, static_cast<Bf16*>(to.values)) : launch(w, static_cast<float*>(to.values));
}

inline int nf4(const LowrankCudaNf4& w, const LowrankCudaTarget& to, Stream stream) {
  return decode(w, to, [&](const LowrankCudaNf4& of, auto* values) { return LOWRANK_CUDA_LAUNCH(decode_nf4, of.count, stream, of, values); });
}
inline int int8(const LowrankCudaInt8& w, const LowrankCudaTarget& to, Stream stream) {
  return decode(w, to, [&](const LowrankCudaInt8& of, auto* values) { return LOWRANK_CUDA_LAUNCH(decode_int8, of.count, stream, of, values); });
}
inline int mxfp4(const LowrankCudaMxfp4& w, const LowrankCudaTarget& to, Stream stream) {
  return decode(w, to, [&](const LowrankCudaMxfp4& of, auto* values) { return LOWRANK_CUDA_LAUNCH(decode_mxfp4, of.count, stream, of, values); });
}

}  // namespace lowrank::kernels::cuda
