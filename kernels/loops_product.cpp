// A row of the product of two thin matrices, rounded after each operation: multiply and add stay apart, so that a cut
// into strips, and the composite twin, give the same bytes.
#include "lowrank/kernels/loops_inline.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("fp-contract=off")
#endif

namespace lowrank::kernels::loops {

LOWRANK_ISA_CLONES void summed_row(const float* b, const float* a, std::int64_t rank, std::int64_t columns, float scale,
                                   float* out) {
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif
  constexpr std::int64_t kStrip = 64;  // whose sums stay in registers
  std::int64_t j = 0;
  for (; j + kStrip <= columns; j += kStrip) {
    float sums[kStrip] = {};
    for (std::int64_t k = 0; k < rank; ++k)
      for (std::int64_t c = 0; c < kStrip; ++c) sums[c] += b[k] * a[k * columns + j + c];
    for (std::int64_t c = 0; c < kStrip; ++c) out[j + c] = sums[c] * scale;
  }
  for (; j < columns; ++j) {
    float sum = 0;
    for (std::int64_t k = 0; k < rank; ++k) sum += b[k] * a[k * columns + j];
    out[j] = sum * scale;
  }
}

}  // namespace lowrank::kernels::loops
