// Dropout's masks on a GPU: a thread makes the four words of a Philox4x32-10 block (Salmon et al. 2011) and applies them to its columns.
#pragma once

#include "lowrank/kernels/cuda/cuda_module.h"
#include "lowrank/kernels/cuda/launch.cuh"

namespace lowrank::kernels::cuda {

template <typename T>
__global__ void drop(LowrankCudaDropout of, T* to) {
  const std::int64_t blocks = (of.columns + 3) / 4, thread = this_thread();
  if (thread >= of.rows * blocks) return;
  const std::int64_t row = thread / blocks, block = thread % blocks;
  std::uint32_t c[4] = {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(of.token[row]), static_cast<std::uint32_t>(of.step),
                        static_cast<std::uint32_t>(of.step >> 32)};
  std::uint32_t k0 = of.key[0], k1 = of.key[1];
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53U} * c[0], p1 = std::uint64_t{0xCD9E8D57U} * c[2];
    const std::uint32_t next[4] = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1),
                                   static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<std::uint32_t>(p0)};
    for (int i = 0; i < 4; ++i) c[i] = next[i];
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  const T* const x = static_cast<const T*>(of.x) + row * of.columns;
  for (std::int64_t i = 0; i < 4 && 4 * block + i < of.columns; ++i) {
    const float keep = c[i] < of.threshold ? 0.0F : 1.0F;
    store(to + row * of.columns + 4 * block + i, wide(x[4 * block + i]) * of.scale * keep);
  }
}

inline int dropout(const LowrankCudaDropout& of, const LowrankCudaTarget& to, Stream stream) {
  const std::int64_t threads = of.rows * ((of.columns + 3) / 4);
  return to.bf16 != 0 ? LOWRANK_CUDA_LAUNCH(drop, threads, stream, of, static_cast<Bf16*>(to.values))
                      : LOWRANK_CUDA_LAUNCH(drop, threads, stream, of, static_cast<float*>(to.values));
}

}  // namespace lowrank::kernels::cuda
