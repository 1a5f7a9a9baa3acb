// Inner loops of LayerNorm, the activations and the soft cap.
#include "lowrank/kernels/loops_blocks.h"

#include "lowrank/kernels/loops_inline.h"

namespace lowrank::kernels::loops {

namespace {

// Each activation: its value and its slope at x.
struct Silu {
  template <typename W>
  LOWRANK_INLINE static W value(W x) {
    return x * sigmoid(x);
  }
  template <typename W>
  LOWRANK_INLINE static W slope(W x) {
    const W s = sigmoid(x);
    return s * (W{1} + x * (W{1} - s));
  }
};
struct Gelu {
  template <typename W>
  LOWRANK_INLINE static W value(W x) {
    return W{0.5} * x * (W{1} + std::erf(x * static_cast<W>(0.70710678118654752440)));
  }
  template <typename W>
  LOWRANK_INLINE static W slope(W x) {
    const W below = W{0.5} * (W{1} + std::erf(x * static_cast<W>(0.70710678118654752440)));
    return below + x * exponential(W{-0.5} * x * x) * static_cast<W>(0.39894228040143267794);
  }
};
struct GeluTanh {
  template <typename W>
  LOWRANK_INLINE static W inner(W x) {
    return static_cast<W>(0.79788456080286535588) * (x + static_cast<W>(0.044715) * x * x * x);
  }
  template <typename W>
  LOWRANK_INLINE static W value(W x) {
    return W{0.5} * x * (W{1} + hyperbolic_tangent(inner(x)));
  }
  template <typename W>
  LOWRANK_INLINE static W slope(W x) {
    const W t = hyperbolic_tangent(inner(x));
    const W by_x = static_cast<W>(0.79788456080286535588) * (W{1} + static_cast<W>(3 * 0.044715) * x * x);
    return W{0.5} * (W{1} + t) + W{0.5} * x * (W{1} - t * t) * by_x;
  }
};
struct QuickGelu {
  template <typename W>
  LOWRANK_INLINE static W value(W x) {
    return x * sigmoid(static_cast<W>(1.702) * x);
  }
  template <typename W>
  LOWRANK_INLINE static W slope(W x) {
    const W s = sigmoid(static_cast<W>(1.702) * x);
    return s + static_cast<W>(1.702) * x * s * (W{1} - s);
  }
};
// Written so that NaN stays NaN.
struct Relu {
  template <typename W>
  LOWRANK_INLINE static W value(W x) {
    return x < W{0} ? W{0} : x;
  }
  template <typename W>
  LOWRANK_INLINE static W slope(W x) {
    return x > W{0} ? W{1} : W{0};
  }
};
struct Relu2 {
  template <typename W>
  LOWRANK_INLINE static W value(W x) {
    return Relu::value(x) * Relu::value(x);
  }
  template <typename W>
  LOWRANK_INLINE static W slope(W x) {
    return W{2} * Relu::value(x);
  }
};
struct Sigmoid {
  template <typename W>
  LOWRANK_INLINE static W value(W x) {
    return sigmoid(x);
  }
  template <typename W>
  LOWRANK_INLINE static W slope(W x) {
    const W s = sigmoid(x);
    return s * (W{1} - s);
  }
};
struct Tanh {
  template <typename W>
  LOWRANK_INLINE static W value(W x) {
    return hyperbolic_tangent(x);
  }
  template <typename W>
  LOWRANK_INLINE static W slope(W x) {
    const W t = hyperbolic_tangent(x);
    return W{1} - t * t;
  }
};

// g(F{}) with F the activation.
template <typename G>
LOWRANK_INLINE void with_activation(Activation f, const G& g) {
  switch (f) {
    case Activation::kSilu:
      return g(Silu{});
    case Activation::kGelu:
      return g(Gelu{});
    case Activation::kGeluTanh:
      return g(GeluTanh{});
    case Activation::kQuickGelu:
      return g(QuickGelu{});
    case Activation::kRelu:
      return g(Relu{});
    case Activation::kRelu2:
      return g(Relu2{});
    case Activation::kSigmoid:
      return g(Sigmoid{});
    case Activation::kTanh:
      return g(Tanh{});
  }
}

template <typename T>
LOWRANK_INLINE void layer_norm_rows(const T* x, const Wide<T>* w, const Wide<T>* b, T* y, Wide<T>* mean,
                                    Wide<T>* inverse, std::int64_t rows, std::int64_t n, double eps) {
  using W = Wide<T>;
  for (std::int64_t i = 0; i < rows; ++i) {
    const T* const in = x + i * n;
    T* const out = y + i * n;
    const W m = lane_sum<W>(n, [in](std::int64_t j) { return load(in[j]); }) / static_cast<W>(n);
    const W squares = lane_sum<W>(n, [in, m](std::int64_t j) { return (load(in[j]) - m) * (load(in[j]) - m); });
    const W r = W{1} / std::sqrt(squares / static_cast<W>(n) + static_cast<W>(eps));
    mean[i] = m;
    inverse[i] = r;
    for (std::int64_t j = 0; j < n; ++j) {
      const W scaled = (load(in[j]) - m) * r * (w != nullptr ? w[j] : W{1});
      store(out[j], scaled + (b != nullptr ? b[j] : W{0}));
    }
  }
}

template <typename T>
LOWRANK_INLINE void layer_norm_rows_backward(const T* g, const T* x, const Wide<T>* w, const Wide<T>* mean,
                                             const Wide<T>* inverse, T* dx, Wide<T>* dw, Wide<T>* db, std::int64_t rows,
                                             std::int64_t n) {
  using W = Wide<T>;
  for (std::int64_t i = 0; i < rows; ++i) {
    const T* const gi = g + i * n;
    const T* const xi = x + i * n;
    T* const out = dx + i * n;
    const W m = mean[i], r = inverse[i];
    const auto scaled = [=](std::int64_t j) { return load(gi[j]) * (w != nullptr ? w[j] : W{1}); };
    const W plain = lane_sum<W>(n, scaled) / static_cast<W>(n);
    const W along =
        lane_sum<W>(n, [=](std::int64_t j) { return scaled(j) * (load(xi[j]) - m); }) * r / static_cast<W>(n);
    for (std::int64_t j = 0; j < n; ++j) store(out[j], r * (scaled(j) - plain - (load(xi[j]) - m) * r * along));
    if (dw != nullptr) {
      for (std::int64_t j = 0; j < n; ++j) dw[j] += load(gi[j]) * (load(xi[j]) - m) * r;
    }
    if (db != nullptr) {
      for (std::int64_t j = 0; j < n; ++j) db[j] += load(gi[j]);
    }
  }
}

}  // namespace

#define LOWRANK_BLOCK_LOOPS(T, W)                                                                                      \
  template <>                                                                                                          \
  LOWRANK_ISA_CLONES void layer_norm(const T* x, const W* w, const W* b, T* y, W* mean, W* inverse, std::int64_t rows, \
                                     std::int64_t n, double eps) {                                                     \
    layer_norm_rows<T>(x, w, b, y, mean, inverse, rows, n, eps);                                                       \
  }                                                                                                                    \
  template <>                                                                                                          \
  LOWRANK_ISA_CLONES void layer_norm_backward(const T* g, const T* x, const W* w, const W* mean, const W* inverse,     \
                                              T* dx, W* dw, W* db, std::int64_t rows, std::int64_t n) {                \
    layer_norm_rows_backward<T>(g, x, w, mean, inverse, dx, dw, db, rows, n);                                          \
  }                                                                                                                    \
  template <>                                                                                                          \
  LOWRANK_ISA_CLONES void activate(Activation f, const T* x, T* y, std::int64_t n) {                                   \
    with_activation(f, [=](auto a) {                                                                                   \
      for (std::int64_t j = 0; j < n; ++j) store(y[j], a.value(load(x[j])));                                           \
    });                                                                                                                \
  }                                                                                                                    \
  template <>                                                                                                          \
  LOWRANK_ISA_CLONES void activate_backward(Activation f, const T* g, const T* x, T* dx, std::int64_t n) {             \
    with_activation(f, [=](auto a) {                                                                                   \
      for (std::int64_t j = 0; j < n; ++j) store(dx[j], load(g[j]) * a.slope(load(x[j])));                             \
    });                                                                                                                \
  }                                                                                                                    \
  template <>                                                                                                          \
  LOWRANK_ISA_CLONES void gated(Activation f, const T* gate, const T* up, T* y, std::int64_t n) {                      \
    with_activation(f, [=](auto a) {                                                                                   \
      for (std::int64_t j = 0; j < n; ++j) store(y[j], rounded<T>(a.value(load(gate[j]))) * load(up[j]));              \
    });                                                                                                                \
  }                                                                                                                    \
  template <>                                                                                                          \
  LOWRANK_ISA_CLONES void gated_backward(Activation f, const T* g, const T* gate, const T* up, T* dgate, T* dup,       \
                                         std::int64_t n) {                                                             \
    with_activation(f, [=](auto a) {                                                                                   \
      for (std::int64_t j = 0; j < n; ++j) {                                                                           \
        const W e = load(gate[j]), gj = load(g[j]);                                                                    \
        store(dgate[j], gj* load(up[j]) * a.slope(e));                                                                 \
        store(dup[j], gj* rounded<T>(a.value(e)));                                                                     \
      }                                                                                                                \
    });                                                                                                                \
  }                                                                                                                    \
  template <>                                                                                                          \
  LOWRANK_ISA_CLONES void soft_cap(const T* x, T* y, std::int64_t n, double cap) {                                     \
    const W outer = static_cast<W>(cap), inner = W{1} / outer;                                                         \
    for (std::int64_t j = 0; j < n; ++j) store(y[j], outer* hyperbolic_tangent(inner* load(x[j])));                    \
  }                                                                                                                    \
  template <>                                                                                                          \
  LOWRANK_ISA_CLONES void soft_cap_backward(const T* g, const T* x, T* dx, std::int64_t n, double cap) {               \
    const W inner = W{1} / static_cast<W>(cap);                                                                        \
    for (std::int64_t j = 0; j < n; ++j) {                                                                             \
      const W t = hyperbolic_tangent(inner * load(x[j]));                                                              \
      store(dx[j], load(g[j]) * (W{1} - t * t));                                                                       \
    }                                                                                                                  \
  }

LOWRANK_BLOCK_LOOPS(float, float)
LOWRANK_BLOCK_LOOPS(double, double)
LOWRANK_BLOCK_LOOPS(c10::BFloat16, float)
#undef LOWRANK_BLOCK_LOOPS

}  // namespace lowrank::kernels::loops
