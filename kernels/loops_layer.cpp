// Inner loops of the norm, rotary embedding and gated activation.
#include <type_traits>

#include "lowrank/kernels/loops_inline.h"

namespace lowrank::kernels::loops {

namespace {

// S: the weight's type. x̂ is rounded before it is multiplied by a weight of its own type.
template <typename T, typename S>
LOWRANK_INLINE Wide<T> normalised(Wide<T> x) {
  if constexpr (std::is_same_v<T, S>) return rounded<T>(x);
  return x;
}

template <typename T, typename S>
LOWRANK_INLINE void norm_rows(const T* x, const S* w, T* y, Wide<T>* inverse, std::int64_t rows, std::int64_t n,
                              double eps) {
  using W = Wide<T>;
  for (std::int64_t i = 0; i < rows; ++i) {
    const T* const in = x + i * n;
    T* const out = y + i * n;
    const W squares = lane_sum<W>(n, [in](std::int64_t j) { return load(in[j]) * load(in[j]); });
    const W r = W{1} / std::sqrt(squares / static_cast<W>(n) + static_cast<W>(eps));
    inverse[i] = r;
    for (std::int64_t j = 0; j < n; ++j) store(out[j], normalised<T, S>(load(in[j]) * r) * load(w[j]));
  }
}

template <typename T, typename S>
LOWRANK_INLINE void norm_rows_backward(const T* g, const T* x, const S* w, const Wide<T>* inverse, T* dx, Wide<T>* dw,
                                       std::int64_t rows, std::int64_t n) {
  using W = Wide<T>;
  for (std::int64_t i = 0; i < rows; ++i) {
    const T* const gi = g + i * n;
    const T* const xi = x + i * n;
    T* const out = dx + i * n;
    const W r = inverse[i];
    const W mean =
        lane_sum<W>(n, [=](std::int64_t j) { return load(gi[j]) * load(w[j]) * load(xi[j]); }) * r / static_cast<W>(n);
    for (std::int64_t j = 0; j < n; ++j) {
      store(out[j], r * (load(gi[j]) * load(w[j]) - load(xi[j]) * r * mean));
    }
    if (dw != nullptr) {
      for (std::int64_t j = 0; j < n; ++j) dw[j] += load(gi[j]) * normalised<T, S>(load(xi[j]) * r);
    }
  }
}

template <typename T>
LOWRANK_INLINE void turn(const T* x, const float* cos, const float* sin, float sign, T* y, std::int64_t heads,
                         std::int64_t head_dim, std::int64_t half) {
  using W = Wide<T>;
  for (std::int64_t h = 0; h < heads; ++h) {
    const T* const in = x + h * head_dim;
    T* const out = y + h * head_dim;
    for (std::int64_t j = 0; j < half; ++j) {
      const W c = cos[j], s = sign * sin[j], a = load(in[j]), b = load(in[j + half]);
      store(out[j], a * c - b * s);
      store(out[j + half], b * c + a * s);
    }
    for (std::int64_t j = 2 * half; j < head_dim; ++j) out[j] = in[j];
  }
}

template <typename T>
LOWRANK_INLINE void turn_interleaved(const T* x, const float* cos, const float* sin, float sign, T* y,
                                     std::int64_t heads, std::int64_t head_dim, std::int64_t half) {
  using W = Wide<T>;
  for (std::int64_t h = 0; h < heads; ++h) {
    const T* const in = x + h * head_dim;
    T* const out = y + h * head_dim;
    for (std::int64_t j = 0; j < half; ++j) {
      const W c = cos[j], s = sign * sin[j], a = load(in[2 * j]), b = load(in[2 * j + 1]);
      store(out[2 * j], a * c - b * s);
      store(out[2 * j + 1], b * c + a * s);
    }
    for (std::int64_t j = 2 * half; j < head_dim; ++j) out[j] = in[j];
  }
}

// bf16 is widened some elements at a time: where loads and rounding stand among the arithmetic, g++ does not vectorise so long a loop.
constexpr std::int64_t kWidened = 64;

template <typename W, typename T>
LOWRANK_INLINE void widen(const T* x, W* y, std::int64_t n) {
  for (std::int64_t j = 0; j < n; ++j) y[j] = load(x[j]);
}
template <typename W, typename T>
LOWRANK_INLINE void narrow(const W* x, T* y, std::int64_t n) {
  for (std::int64_t j = 0; j < n; ++j) store(y[j], x[j]);
}

// y may be up.
template <typename T>
LOWRANK_INLINE void gate_up_wide(const Wide<T>* gate, const Wide<T>* up, Wide<T>* y, std::int64_t n) {
  for (std::int64_t j = 0; j < n; ++j) {
    const Wide<T> e = gate[j];
    y[j] = rounded<T>(e * sigmoid(e)) * up[j];
  }
}
// dgate may be g and dup may be up.
template <typename T>
LOWRANK_INLINE void gate_up_backward_wide(const Wide<T>* g, const Wide<T>* gate, const Wide<T>* up, Wide<T>* dgate, Wide<T>* dup,
                                          std::int64_t n) {
  using W = Wide<T>;
  for (std::int64_t j = 0; j < n; ++j) {
    const W e = gate[j], s = sigmoid(e), gj = g[j], u = up[j];
    dgate[j] = gj * u * s * (W{1} + e * (W{1} - s));
    dup[j] = gj * rounded<T>(e * s);
  }
}

template <typename T>
LOWRANK_INLINE void gate_up(const T* gate, const T* up, T* y, std::int64_t n) {
  using W = Wide<T>;
  if constexpr (std::is_same_v<T, W>) return gate_up_wide<T>(gate, up, y, n);
  W e[kWidened], u[kWidened];
  for (std::int64_t begin = 0; begin < n; begin += kWidened) {
    const std::int64_t m = n - begin < kWidened ? n - begin : kWidened;
    widen(gate + begin, e, m);
    widen(up + begin, u, m);
    gate_up_wide<T>(e, u, u, m);
    narrow(u, y + begin, m);
  }
}

template <typename T>
LOWRANK_INLINE void gate_up_backward(const T* g, const T* gate, const T* up, T* dgate, T* dup, std::int64_t n) {
  using W = Wide<T>;
  if constexpr (std::is_same_v<T, W>) return gate_up_backward_wide<T>(g, gate, up, dgate, dup, n);
  W e[kWidened], u[kWidened], d[kWidened];
  for (std::int64_t begin = 0; begin < n; begin += kWidened) {
    const std::int64_t m = n - begin < kWidened ? n - begin : kWidened;
    widen(g + begin, d, m);
    widen(gate + begin, e, m);
    widen(up + begin, u, m);
    gate_up_backward_wide<T>(d, e, u, d, u, m);
    narrow(d, dgate + begin, m);
    narrow(u, dup + begin, m);
  }
}

}  // namespace

#define LOWRANK_NORM_LOOPS(T, S, W)                                                                             \
  LOWRANK_ISA_CLONES void rms_norm(const T* x, const S* w, T* y, W* inverse, std::int64_t rows, std::int64_t n, \
                                   double eps) {                                                                \
    norm_rows<T, S>(x, w, y, inverse, rows, n, eps);                                                            \
  }                                                                                                             \
  LOWRANK_ISA_CLONES void rms_norm_backward(const T* g, const T* x, const S* w, const W* inverse, T* dx, W* dw, \
                                            std::int64_t rows, std::int64_t n) {                                \
    norm_rows_backward<T, S>(g, x, w, inverse, dx, dw, rows, n);                                                \
  }

LOWRANK_NORM_LOOPS(float, float, float)
LOWRANK_NORM_LOOPS(double, double, double)
LOWRANK_NORM_LOOPS(c10::BFloat16, c10::BFloat16, float)
LOWRANK_NORM_LOOPS(c10::BFloat16, float, float)
#undef LOWRANK_NORM_LOOPS

#define LOWRANK_LAYER_LOOPS(T)                                                                                         \
  LOWRANK_ISA_CLONES void rotary(const T* x, const float* cos, const float* sin, float sign, T* y, std::int64_t heads, \
                                 std::int64_t head_dim, std::int64_t half) {                                           \
    turn<T>(x, cos, sin, sign, y, heads, head_dim, half);                                                              \
  }                                                                                                                    \
  LOWRANK_ISA_CLONES void rotary_interleaved(const T* x, const float* cos, const float* sin, float sign, T* y,         \
                                             std::int64_t heads, std::int64_t head_dim, std::int64_t half) {           \
    turn_interleaved<T>(x, cos, sin, sign, y, heads, head_dim, half);                                                  \
  }                                                                                                                    \
  LOWRANK_ISA_CLONES void swiglu(const T* gate, const T* up, T* y, std::int64_t n) { gate_up<T>(gate, up, y, n); }     \
  LOWRANK_ISA_CLONES void swiglu_backward(const T* g, const T* gate, const T* up, T* dgate, T* dup, std::int64_t n) {  \
    gate_up_backward<T>(g, gate, up, dgate, dup, n);                                                                   \
  }

LOWRANK_LAYER_LOOPS(float)
LOWRANK_LAYER_LOOPS(double)
LOWRANK_LAYER_LOOPS(c10::BFloat16)
#undef LOWRANK_LAYER_LOOPS

}  // namespace lowrank::kernels::loops
