// Inner loops of attention's softmax and of the cross-entropy.
#include "lowrank/kernels/loops_inline.h"

namespace lowrank::kernels::loops {

namespace {

// exp(scale s − m) in place and its sum, added up by blocks in double so that long rows lose nothing.
template <typename W>
LOWRANK_INLINE double exponentials(W* s, std::int64_t n, W scale, W m) {
  constexpr std::int64_t kBlock = 1024;
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t count = n - begin < kBlock ? n - begin : kBlock;
    W* const block = s + begin;
    for (std::int64_t j = 0; j < count; ++j) block[j] = exponential(scale * block[j] - m);
    total += static_cast<double>(lane_sum<W>(count, [block](std::int64_t j) { return block[j]; }));
  }
  return total;
}

template <typename W>
LOWRANK_INLINE W softmax(W* s, std::int64_t n, std::int64_t first, std::int64_t last, W scale, W* sum) {
  W* const seen = s + first;
  const W m = lane_max<W>(seen, last - first, scale);
  const double total = exponentials(seen, last - first, scale, m);
  for (std::int64_t j = 0; j < first; ++j) s[j] = 0;
  for (std::int64_t j = last; j < n; ++j) s[j] = 0;
  *sum = static_cast<W>(total);
  return static_cast<W>(static_cast<double>(m) + std::log(total));
}

template <typename W>
LOWRANK_INLINE void softmax_backward(W* s, W* dp, std::int64_t n, std::int64_t first, std::int64_t last, W scale, W lse,
                                     W delta) {
  for (std::int64_t j = 0; j < first; ++j) s[j] = dp[j] = 0;
  for (std::int64_t j = first; j < last; ++j) {
    const W p = exponential(scale * s[j] - lse);
    s[j] = p;
    dp[j] = scale * p * (dp[j] - delta);
  }
  for (std::int64_t j = last; j < n; ++j) s[j] = dp[j] = 0;
}

template <typename W>
LOWRANK_INLINE void capped_softmax_backward(W* s, W* dp, std::int64_t n, std::int64_t first, std::int64_t last, W scale,
                                            W cap, W lse, W delta) {
  for (std::int64_t j = 0; j < first; ++j) s[j] = dp[j] = 0;
  const W inner = scale / cap;
  for (std::int64_t j = first; j < last; ++j) {
    const W t = hyperbolic_tangent(inner * s[j]);
    const W p = exponential(cap * t - lse);
    s[j] = p;
    dp[j] = scale * (W{1} - t * t) * p * (dp[j] - delta);
  }
  for (std::int64_t j = last; j < n; ++j) s[j] = dp[j] = 0;
}

template <typename W>
LOWRANK_INLINE W cross_entropy(W* z, std::int64_t n, std::int64_t label, bool round, bool gradient, W scale) {
  if (round) {
    for (std::int64_t j = 0; j < n; ++j) z[j] = static_cast<W>(rounded<c10::BFloat16>(static_cast<float>(z[j])));
  }
  const W m = lane_max<W>(z, n, W{1});
  const W target = z[label];
  const double total = exponentials(z, n, W{1}, m);
  if (gradient) {
    const W factor = static_cast<W>(static_cast<double>(scale) / total);
    for (std::int64_t j = 0; j < n; ++j) z[j] *= factor;
    z[label] -= scale;
  }
  return static_cast<W>(static_cast<double>(m) + std::log(total) - static_cast<double>(target));
}

}  // namespace

#define LOWRANK_SOFTMAX_LOOPS(W)                                                                                     \
  LOWRANK_ISA_CLONES W softmax_row(W* s, std::int64_t n, std::int64_t first, std::int64_t last, double scale,        \
                                   W* sum) {                                                                         \
    return softmax<W>(s, n, first, last, static_cast<W>(scale), sum);                                                \
  }                                                                                                                  \
  LOWRANK_ISA_CLONES void softmax_row_backward(W* s, W* dp, std::int64_t n, std::int64_t first, std::int64_t last,   \
                                               double scale, W lse, W delta) {                                       \
    softmax_backward<W>(s, dp, n, first, last, static_cast<W>(scale), lse, delta);                                   \
  }                                                                                                                  \
  LOWRANK_ISA_CLONES void cap_row(W* s, std::int64_t first, std::int64_t last, double scale, double cap) {           \
    const W inner = static_cast<W>(scale / cap), outer = static_cast<W>(cap);                                        \
    for (std::int64_t j = first; j < last; ++j) s[j] = outer * hyperbolic_tangent(inner * s[j]);                     \
  }                                                                                                                  \
  LOWRANK_ISA_CLONES void capped_softmax_row_backward(W* s, W* dp, std::int64_t n, std::int64_t first,               \
                                                      std::int64_t last, double scale, double cap, W lse, W delta) { \
    capped_softmax_backward<W>(s, dp, n, first, last, static_cast<W>(scale), static_cast<W>(cap), lse, delta);       \
  }                                                                                                                  \
  LOWRANK_ISA_CLONES W dot(const W* a, const W* b, std::int64_t n) {                                                 \
    return lane_sum<W>(n, [=](std::int64_t j) { return a[j] * b[j]; });                                              \
  }                                                                                                                  \
  LOWRANK_ISA_CLONES W cross_entropy_row(W* z, std::int64_t n, std::int64_t label, bool round, bool gradient,        \
                                         W scale) {                                                                  \
    return cross_entropy<W>(z, n, label, round, gradient, scale);                                                    \
  }

LOWRANK_SOFTMAX_LOOPS(float)
LOWRANK_SOFTMAX_LOOPS(double)
#undef LOWRANK_SOFTMAX_LOOPS

}  // namespace lowrank::kernels::loops
