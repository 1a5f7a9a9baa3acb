// Inner loops of the delta rule, the causal convolution and the gated norm.
#include "lowrank/kernels/loops_state.h"

#include "lowrank/kernels/loops_inline.h"

namespace lowrank::kernels::loops {

namespace {

constexpr int kColumns = 32;  // held in registers while rows are added up

// x[row] −= Σ_j factor(j) x[j] over [first, last), `columns` of it; known to be kColumns where the loop unrolls.
template <typename W, typename F>
LOWRANK_INLINE void subtract_rows(W* x, std::int64_t row, std::int64_t first, std::int64_t last, std::int64_t width,
                                  const F& factor) {
  W* const out = x + row * width;
  std::int64_t c = 0;
  for (; c + kColumns <= width; c += kColumns) {
    W sum[kColumns];
    for (int l = 0; l < kColumns; ++l) sum[l] = out[c + l];
    for (std::int64_t j = first; j < last; ++j) {
      const W f = factor(j);
      const W* const in = x + j * width + c;
      for (int l = 0; l < kColumns; ++l) sum[l] -= f * in[l];
    }
    for (int l = 0; l < kColumns; ++l) out[c + l] = sum[l];
  }
  for (std::int64_t j = first; j < last && c < width; ++j) {
    const W f = factor(j);
    for (std::int64_t l = c; l < width; ++l) out[l] -= f * x[j * width + l];
  }
}

// Without branches, so that loops over it vectorise.
template <typename W>
LOWRANK_INLINE W decay_of(W logarithm) {
  return logarithm < kNoDecay<W> ? W{0} : exponential(logarithm);
}

template <typename W>
LOWRANK_INLINE W silu_slope(W x) {
  const W s = sigmoid(x);
  return s * (W{1} + x * (W{1} - s));
}

template <typename T>
LOWRANK_INLINE void norm_and_gate(const T* x, const T* w, const T* z, T* y, Wide<T>* inverse, std::int64_t rows,
                                  std::int64_t n, double eps) {
  using W = Wide<T>;
  for (std::int64_t i = 0; i < rows; ++i) {
    const T *const in = x + i * n, *const gate = z + i * n;
    T* const out = y + i * n;
    const W squares = lane_sum<W>(n, [in](std::int64_t j) { return load(in[j]) * load(in[j]); });
    const W r = W{1} / std::sqrt(squares / static_cast<W>(n) + static_cast<W>(eps));
    inverse[i] = r;
    for (std::int64_t j = 0; j < n; ++j) {
      const W e = load(gate[j]);
      store(out[j], rounded<T>(rounded<T>(load(in[j]) * r) * load(w[j])) * (e * sigmoid(e)));
    }
  }
}

template <typename T>
LOWRANK_INLINE void norm_and_gate_backward(const T* g, const T* x, const T* w, const T* z, const Wide<T>* inverse,
                                           T* dx, T* dz, Wide<T>* dw, std::int64_t rows, std::int64_t n) {
  using W = Wide<T>;
  for (std::int64_t i = 0; i < rows; ++i) {
    const T *const gi = g + i * n, *const xi = x + i * n, *const zi = z + i * n;
    T *const out = dx + i * n, *const gate = dz + i * n;
    const W r = inverse[i];
    // What reaches the norm's output: g silu(z).
    const auto reaches = [=](std::int64_t j) {
      const W e = load(zi[j]);
      return load(gi[j]) * e * sigmoid(e);
    };
    const W mean =
        lane_sum<W>(n, [=](std::int64_t j) { return reaches(j) * load(w[j]) * load(xi[j]); }) * r / static_cast<W>(n);
    for (std::int64_t j = 0; j < n; ++j) {
      store(out[j], r * (reaches(j) * load(w[j]) - load(xi[j]) * r * mean));
      store(gate[j], load(gi[j]) * rounded<T>(rounded<T>(load(xi[j]) * r) * load(w[j])) * silu_slope(load(zi[j])));
    }
    if (dw == nullptr) continue;
    for (std::int64_t j = 0; j < n; ++j) dw[j] += reaches(j) * rounded<T>(load(xi[j]) * r);
  }
}

}  // namespace

#define LOWRANK_STATE_LOOPS(W)                                                                                         \
  template <>                                                                                                          \
  LOWRANK_ISA_CLONES void decay_products(W* products, W* decay, const W* gamma, std::int64_t n) {                      \
    for (std::int64_t i = 0; i < n; ++i) {                                                                             \
      W *const kk = products + i * n, *const qk = products + (n + i) * n, *const d = decay + i * n;                    \
      for (std::int64_t j = 0; j < n; ++j) d[j] = j <= i ? decay_of(gamma[i] - gamma[j]) : W{0};                       \
      for (std::int64_t j = 0; j < n; ++j) qk[j] *= d[j];                                                              \
      for (std::int64_t j = 0; j < n; ++j) kk[j] = j < i ? kk[j] * d[j] : W{0};                                        \
    }                                                                                                                  \
  }                                                                                                                    \
  template <>                                                                                                          \
  LOWRANK_ISA_CLONES void substitute(const W* a, std::int64_t stride, W* x, std::int64_t n, std::int64_t width) {      \
    for (std::int64_t i = 1; i < n; ++i)                                                                               \
      subtract_rows<W>(x, i, 0, i, width, [=](std::int64_t j) { return a[i * stride + j]; });                          \
  }                                                                                                                    \
  template <>                                                                                                          \
  LOWRANK_ISA_CLONES void substitute_transposed(const W* a, std::int64_t stride, W* x, std::int64_t n, std::int64_t width) { \
    for (std::int64_t i = n - 2; i >= 0; --i)                                                                          \
      subtract_rows<W>(x, i, i + 1, n, width, [=](std::int64_t j) { return a[j * stride + i]; });                      \
  }                                                                                                                    \
  template <>                                                                                                          \
  LOWRANK_ISA_CLONES void delta_residual(const W* v, const W* ks, const W* e, const W* beta, W* r, std::int64_t n,     \
                                         std::int64_t width) {                                                         \
    for (std::int64_t i = 0; i < n; ++i)                                                                               \
      for (std::int64_t j = i * width; j < (i + 1) * width; ++j) r[j] = beta[i] * (v[j] - e[i] * ks[j]);               \
  }                                                                                                                    \
  template <>                                                                                                          \
  LOWRANK_ISA_CLONES void scale_rows(const W* x, const W* s, W* y, std::int64_t n, std::int64_t width) {               \
    for (std::int64_t i = 0; i < n; ++i)                                                                               \
      for (std::int64_t j = i * width; j < (i + 1) * width; ++j) y[j] = s[i] * x[j];                                   \
  }                                                                                                                    \
  template <>                                                                                                          \
  LOWRANK_ISA_CLONES void decay_products_backward(const W* products, const W* decay, const W* beta, W* gradients,      \
                                                  W* dbeta, W* dgamma, std::int64_t n) {                               \
    for (std::int64_t i = 0; i < n; ++i) {                                                                             \
      const W *const kk = products + i * n, *const qk = products + (n + i) * n, *const d = decay + i * n;              \
      W *const da = gradients + i * n, *const dp = gradients + (n + i) * n;                                            \
      const W b = beta[i];                                                                                             \
      const W by_beta = lane_sum<W>(i, [=](std::int64_t j) { return -da[j] * kk[j]; });                                \
      dbeta[i] += by_beta;                                                                                             \
      dgamma[i] += b * by_beta + lane_sum<W>(i + 1, [=](std::int64_t j) { return dp[j] * qk[j]; });                    \
      for (std::int64_t j = 0; j <= i; ++j) dgamma[j] += b * da[j] * kk[j] - dp[j] * qk[j];                            \
      for (std::int64_t j = 0; j < n; ++j) {                                                                           \
        da[j] = j < i ? -b * d[j] * da[j] : W{0};                                                                      \
        dp[j] = j <= i ? d[j] * dp[j] : W{0};                                                                          \
      }                                                                                                                \
    }                                                                                                                  \
  }                                                                                                                    \
  template <>                                                                                                          \
  LOWRANK_ISA_CLONES void delta_rows_backward(const W* v, const W* ks_qs, const W* e, const W* beta, W* dr_do, W* dv,  \
                                              W* dbeta, W* de, std::int64_t n, std::int64_t width) {                   \
    for (std::int64_t i = 0; i < n; ++i) {                                                                             \
      const W *const ks = ks_qs + i * width, *const qs = ks_qs + (n + i) * width, *const vi = v + i * width;           \
      W *const dr = dr_do + i * width, *const go = dr_do + (n + i) * width, *const out = dv + i * width;               \
      const W b = beta[i], ei = e[i];                                                                                  \
      dbeta[i] += lane_sum<W>(width, [=](std::int64_t j) { return dr[j] * (vi[j] - ei * ks[j]); });                    \
      de[i] = lane_sum<W>(width, [=](std::int64_t j) { return go[j] * qs[j] - b * dr[j] * ks[j]; });                   \
      for (std::int64_t j = 0; j < width; ++j) {                                                                       \
        out[j] = b * dr[j];                                                                                            \
        dr[j] = -ei * b * dr[j];                                                                                       \
        go[j] = ei * go[j];                                                                                            \
      }                                                                                                                \
    }                                                                                                                  \
  }                                                                                                                    \
  template <>                                                                                                          \
  LOWRANK_ISA_CLONES void delta_step(W* s, const W* q, const W* k, const W* v, W e, W beta, W* delta, W* out,          \
                                     std::int64_t dk, std::int64_t dv) {                                               \
    for (std::int64_t j = 0; j < dv; ++j) delta[j] = out[j] = W{0};                                                    \
    for (std::int64_t i = 0; i < dk; ++i)                                                                              \
      for (std::int64_t j = 0; j < dv; ++j) {                                                                          \
        s[i * dv + j] *= e;                                                                                            \
        delta[j] += k[i] * s[i * dv + j];                                                                              \
      }                                                                                                                \
    for (std::int64_t j = 0; j < dv; ++j) delta[j] = beta * (v[j] - delta[j]);                                         \
    for (std::int64_t i = 0; i < dk; ++i)                                                                              \
      for (std::int64_t j = 0; j < dv; ++j) {                                                                          \
        s[i * dv + j] += k[i] * delta[j];                                                                              \
        out[j] += q[i] * s[i * dv + j];                                                                                \
      }                                                                                                                \
  }

LOWRANK_STATE_LOOPS(float)
LOWRANK_STATE_LOOPS(double)
#undef LOWRANK_STATE_LOOPS

#define LOWRANK_STREAM_LOOPS(T, W)                                                                                  \
  template <>                                                                                                       \
  LOWRANK_ISA_CLONES void widen_rows(const T* x, std::int64_t stride, W* y, std::int64_t rows, std::int64_t n) {    \
    for (std::int64_t i = 0; i < rows; ++i)                                                                         \
      for (std::int64_t j = 0; j < n; ++j) y[i * n + j] = load(x[i * stride + j]);                                  \
  }                                                                                                                 \
  template <>                                                                                                       \
  LOWRANK_ISA_CLONES void narrow_rows(const W* x, T* y, std::int64_t stride, std::int64_t rows, std::int64_t n) {   \
    for (std::int64_t i = 0; i < rows; ++i)                                                                         \
      for (std::int64_t j = 0; j < n; ++j) store(y[i * stride + j], x[i * n + j]);                                  \
  }                                                                                                                 \
  template <>                                                                                                       \
  LOWRANK_ISA_CLONES void unit_rows(const T* x, std::int64_t stride, W* y, W* inverse, std::int64_t rows,           \
                                    std::int64_t n, double eps, double scale) {                                     \
    for (std::int64_t i = 0; i < rows; ++i) {                                                                       \
      const T* const in = x + i * stride;                                                                           \
      const W squares = lane_sum<W>(n, [in](std::int64_t j) { return load(in[j]) * load(in[j]); });                 \
      inverse[i] = W{1} / std::sqrt(squares + static_cast<W>(eps));                                                 \
      const W by = inverse[i] * static_cast<W>(scale);                                                              \
      for (std::int64_t j = 0; j < n; ++j) y[i * n + j] = load(in[j]) * by;                                         \
    }                                                                                                               \
  }                                                                                                                 \
  template <>                                                                                                       \
  LOWRANK_ISA_CLONES void unit_rows_backward(const W* g, const W* y, const W* inverse, T* dx, std::int64_t stride,  \
                                             std::int64_t rows, std::int64_t n, double scale) {                     \
    const W s = static_cast<W>(scale);                                                                              \
    for (std::int64_t i = 0; i < rows; ++i) {                                                                       \
      const W *const gi = g + i * n, *const yi = y + i * n;                                                         \
      const W along = lane_sum<W>(n, [=](std::int64_t j) { return yi[j] * gi[j]; }) / (s * s);                      \
      for (std::int64_t j = 0; j < n; ++j) store(dx[i * stride + j], inverse[i] * s * (gi[j] - yi[j] * along));     \
    }                                                                                                               \
  }                                                                                                                 \
  template <>                                                                                                       \
  LOWRANK_ISA_CLONES void tap_sum(const T* const* taps, const W* w, const W* bias, W* sum, std::int64_t k,          \
                                  std::int64_t channels) {                                                          \
    for (std::int64_t c = 0; c < channels; ++c) sum[c] = bias == nullptr ? W{0} : bias[c];                          \
    for (std::int64_t j = 0; j < k; ++j) {                                                                          \
      if (taps[j] == nullptr) continue;                                                                             \
      const T* const in = taps[j];                                                                                  \
      const W* const by = w + j * channels;                                                                         \
      for (std::int64_t c = 0; c < channels; ++c) sum[c] += by[c] * load(in[c]);                                    \
    }                                                                                                               \
  }                                                                                                                 \
  template <>                                                                                                       \
  LOWRANK_ISA_CLONES void silu_row(const W* x, T* y, std::int64_t n, bool silu) {                                   \
    if (silu)                                                                                                       \
      for (std::int64_t j = 0; j < n; ++j) store(y[j], x[j] * sigmoid(x[j]));                                       \
    else                                                                                                            \
      for (std::int64_t j = 0; j < n; ++j) store(y[j], x[j]);                                                       \
  }                                                                                                                 \
  template <>                                                                                                       \
  LOWRANK_ISA_CLONES void silu_row_backward(const T* g, const W* u, W* du, std::int64_t n, bool silu) {             \
    if (silu)                                                                                                       \
      for (std::int64_t j = 0; j < n; ++j) du[j] = load(g[j]) * silu_slope(u[j]);                                   \
    else                                                                                                            \
      for (std::int64_t j = 0; j < n; ++j) du[j] = load(g[j]);                                                      \
  }                                                                                                                 \
  template <>                                                                                                       \
  LOWRANK_ISA_CLONES void tap_sum_backward(const W* const* later, const W* w, T* dx, std::int64_t k,                \
                                           std::int64_t channels) {                                                 \
    constexpr std::int64_t kBlock = 256;                                                                            \
    for (std::int64_t begin = 0; begin < channels; begin += kBlock) {                                               \
      const std::int64_t n = channels - begin < kBlock ? channels - begin : kBlock;                                 \
      W sum[kBlock] = {};                                                                                           \
      for (std::int64_t j = 0; j < k; ++j) {                                                                        \
        if (later[j] == nullptr) continue;                                                                          \
        const W *const in = later[j] + begin, *const by = w + j * channels + begin;                                 \
        for (std::int64_t c = 0; c < n; ++c) sum[c] += by[c] * in[c];                                               \
      }                                                                                                             \
      for (std::int64_t c = 0; c < n; ++c) store(dx[begin + c], sum[c]);                                            \
    }                                                                                                               \
  }                                                                                                                 \
  template <>                                                                                                       \
  LOWRANK_ISA_CLONES void add_product(const W* a, const T* x, W* sum, std::int64_t n) {                             \
    for (std::int64_t j = 0; j < n; ++j) sum[j] += a[j] * load(x[j]);                                               \
  }                                                                                                                 \
  template <>                                                                                                       \
  LOWRANK_ISA_CLONES void gated_rms_norm(const T* x, const T* w, const T* z, T* y, W* inverse, std::int64_t rows,   \
                                         std::int64_t n, double eps) {                                              \
    norm_and_gate<T>(x, w, z, y, inverse, rows, n, eps);                                                            \
  }                                                                                                                 \
  template <>                                                                                                       \
  LOWRANK_ISA_CLONES void gated_rms_norm_backward(const T* g, const T* x, const T* w, const T* z, const W* inverse, \
                                                  T* dx, T* dz, W* dw, std::int64_t rows, std::int64_t n) {         \
    norm_and_gate_backward<T>(g, x, w, z, inverse, dx, dz, dw, rows, n);                                            \
  }

LOWRANK_STREAM_LOOPS(float, float)
LOWRANK_STREAM_LOOPS(double, double)
LOWRANK_STREAM_LOOPS(c10::BFloat16, float)
#undef LOWRANK_STREAM_LOOPS

}  // namespace lowrank::kernels::loops
