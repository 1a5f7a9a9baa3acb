/* What lowrank_cuda.so gives lowrank: kernels for NVIDIA's GPUs, in plain C, so that the command is not linked with CUDA and starts without
   it. All addresses are the device's. Each returns 0, or CUDA's error; none waits: the work stands behind what the current stream has to do. */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LOWRANK_CUDA_MODULE_VERSION 1

/* Where results go: `bf16` says whether as bf16, rounded to the nearest, or as fp32. */
struct LowrankCudaTarget {
  void* values;
  int bf16;
  int device;
};

/* Values [first, first + count) of a weight, row by row: kernels::nf4_storage, int8_storage, mxfp4_storage to the byte. */
struct LowrankCudaNf4 {
  const uint8_t* codes;
  const uint8_t* absmax;
  const float* scales;
  const float* offset;
  const float* values; /* [16] */
  const float* map;    /* [256] */
  int64_t first, count;
};
struct LowrankCudaInt8 {
  const int8_t* codes;
  const float* scales;
  int64_t in;
  int64_t first, count;
};
struct LowrankCudaMxfp4 {
  const uint8_t* blocks;
  const uint8_t* scales;
  const float* values; /* [256 * 16]: what each scale makes of the 16 */
  int64_t first, count;
};

/* kernels::apply_dropout of x [rows, columns], in the target's dtype, to the byte. */
struct LowrankCudaDropout {
  const void* x;
  const int64_t* token; /* [rows] */
  int64_t rows, columns;
  uint64_t step, threshold; /* a word below it drops */
  uint32_t key[2];
  float scale;
};

struct LowrankCuda {
  int version;
  int (*nf4)(const struct LowrankCudaNf4* weight, const struct LowrankCudaTarget* to);
  int (*int8)(const struct LowrankCudaInt8* weight, const struct LowrankCudaTarget* to);
  int (*mxfp4)(const struct LowrankCudaMxfp4* weight, const struct LowrankCudaTarget* to);
  int (*dropout)(const struct LowrankCudaDropout* of, const struct LowrankCudaTarget* to);
  const char* (*text)(int error);
};

/* The one symbol of the module. */
const struct LowrankCuda* lowrank_cuda(void);

#ifdef __cplusplus
}
#endif
