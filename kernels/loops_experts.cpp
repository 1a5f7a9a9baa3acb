// Inner loops of a mixture of experts.
#include "lowrank/kernels/loops_experts.h"

#include "lowrank/kernels/loops_inline.h"

namespace lowrank::kernels::loops {

namespace {

template <typename T, typename W>
LOWRANK_INLINE void combine(const T* y, const std::int64_t* rows, const T* w, std::int64_t count, std::int64_t d,
                            W* sum, T* out) {
  for (std::int64_t k = 0; k < count; ++k) {
    const T* const row = y + rows[k] * d;
    const W factor = w == nullptr ? W{1} : load(w[k]);
    if (k == 0) {
      for (std::int64_t j = 0; j < d; ++j) sum[j] = factor * load(row[j]);
    } else {
      for (std::int64_t j = 0; j < d; ++j) sum[j] += factor * load(row[j]);
    }
  }
  for (std::int64_t j = 0; j < d; ++j) store(out[j], sum[j]);
}

template <typename W>
struct Gate {
  W g, u, s, slope_g, slope_u;
};

// Of one pair: both clamped, the sigmoid, and whether each was inside. NaN stays NaN.
template <typename W>
LOWRANK_INLINE Gate<W> gate_of(W g, W u, W alpha, W limit) {
  Gate<W> r;
  r.slope_g = g <= limit ? W{1} : W{0};
  r.slope_u = u <= limit ? (u >= -limit ? W{1} : W{0}) : W{0};
  r.g = g > limit ? limit : g;
  r.u = u > limit ? limit : (u < -limit ? -limit : u);
  r.s = sigmoid(alpha * r.g);
  return r;
}

}  // namespace

#define LOWRANK_EXPERT_LOOPS(T, W)                                                                             \
  template <>                                                                                                  \
  LOWRANK_ISA_CLONES void combine_rows(const T* y, const std::int64_t* rows, const T* w, std::int64_t count,   \
                                       std::int64_t d, W* sum, T* out) {                                       \
    combine<T, W>(y, rows, w, count, d, sum, out);                                                             \
  }                                                                                                            \
  template <>                                                                                                  \
  LOWRANK_ISA_CLONES W combine_row_backward(const T* g, const T* y, T w, std::int64_t d, T* to) {              \
    const W factor = load(w);                                                                                  \
    for (std::int64_t j = 0; j < d; ++j) store(to[j], factor * load(g[j]));                                    \
    return lane_sum<W>(d, [=](std::int64_t j) { return load(g[j]) * load(y[j]); });                            \
  }                                                                                                            \
  template <>                                                                                                  \
  LOWRANK_ISA_CLONES void clamped_swiglu(const T* x, T* y, std::int64_t f, double alpha, double limit) {       \
    const W a = static_cast<W>(alpha), most = static_cast<W>(limit);                                           \
    for (std::int64_t j = 0; j < f; ++j) {                                                                     \
      const Gate<W> r = gate_of<W>(load(x[2 * j]), load(x[2 * j + 1]), a, most);                               \
      store(y[j], (r.u + W{1}) * (r.g * r.s));                                                                 \
    }                                                                                                          \
  }                                                                                                            \
  template <>                                                                                                  \
  LOWRANK_ISA_CLONES void clamped_swiglu_backward(const T* g, const T* x, T* dx, std::int64_t f, double alpha, \
                                                  double limit) {                                              \
    const W a = static_cast<W>(alpha), most = static_cast<W>(limit);                                           \
    for (std::int64_t j = 0; j < f; ++j) {                                                                     \
      const Gate<W> r = gate_of<W>(load(x[2 * j]), load(x[2 * j + 1]), a, most);                               \
      const W gj = load(g[j]);                                                                                 \
      store(dx[2 * j], gj * (r.u + W{1}) * (r.s + a * r.g * r.s * (W{1} - r.s)) * r.slope_g);                  \
      store(dx[2 * j + 1], gj * (r.g * r.s) * r.slope_u);                                                      \
    }                                                                                                          \
  }

LOWRANK_EXPERT_LOOPS(float, float)
LOWRANK_EXPERT_LOOPS(double, double)
LOWRANK_EXPERT_LOOPS(c10::BFloat16, float)
#undef LOWRANK_EXPERT_LOOPS

}  // namespace lowrank::kernels::loops
