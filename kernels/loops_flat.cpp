// Inner loops over flat buffers of parameters and gradients. Multiply and add stay apart, so that an instruction set
// with a fused one gives the same bytes.
#include "lowrank/kernels/loops_inline.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("fp-contract=off")
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

namespace lowrank::kernels::loops {

namespace {

/// Σ term(x[i]) in double: eight running sums, added in order, then what is left over.
template <typename Term>
LOWRANK_INLINE double eight_sums(const float* x, std::int64_t n, const Term& term) {
  double lane[8] = {};
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int k = 0; k < 8; ++k) lane[k] += term(x[i + k]);
  }
  double sum = 0;
  for (const double value : lane) sum += value;
  for (; i < n; ++i) sum += term(x[i]);
  return sum;
}

}  // namespace

LOWRANK_ISA_CLONES double sum_of_squares(const float* x, std::int64_t n) {
  return eight_sums(x, n, [](float v) { return static_cast<double>(v) * static_cast<double>(v); });
}

LOWRANK_ISA_CLONES double sum_of_magnitudes(const float* x, std::int64_t n) {
  return eight_sums(x, n, [](float v) { return std::fabs(static_cast<double>(v)); });
}

LOWRANK_ISA_CLONES double count_of_zeros(const float* x, std::int64_t n) {
  return eight_sums(x, n, [](float v) { return v == 0.0F ? 1.0 : 0.0; });
}

LOWRANK_ISA_CLONES double sum_of_remainders(const float* x, std::int64_t n) {
  return eight_sums(x, n, [](float v) { return static_cast<double>(v - v); });
}

LOWRANK_ISA_CLONES void add_scaled(float* x, const float* y, std::int64_t n, float factor) {
  for (std::int64_t i = 0; i < n; ++i) x[i] += factor * y[i];
}

LOWRANK_ISA_CLONES void move_towards(float* mean, const float* x, std::int64_t n, float rate) {
  for (std::int64_t i = 0; i < n; ++i) mean[i] += rate * (x[i] - mean[i]);
}

LOWRANK_ISA_CLONES void shrink(float* x, const float* origin, std::int64_t n, float threshold) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float from = origin == nullptr ? 0.0F : origin[i];
    const float away = x[i] - from;
    x[i] = std::fabs(away) - threshold > 0 ? x[i] - std::copysign(threshold, away) : from;
  }
}

LOWRANK_ISA_CLONES void exchange(float* a, float* b, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float kept = a[i];
    a[i] = b[i];
    b[i] = kept;
  }
}

}  // namespace lowrank::kernels::loops
