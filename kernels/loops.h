// The inner loops of the elementwise ops over raw rows, each compiled once per instruction set and chosen at load
// (loops_*.cpp). A row is always worked from its start by one thread, so results depend on the CPU's capability alone.
// T is float, double or c10::BFloat16; Wide<T> (double for double, else float) is what is computed in.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>
#include <type_traits>

namespace lowrank::kernels {

template <typename T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

namespace loops {

/// y = T(x · r) · w with r = 1/sqrt(mean(x²) + eps) of each of `rows` rows of n; r is kept in `inverse`.
void rms_norm(const float* x, const float* w, float* y, float* inverse, std::int64_t rows, std::int64_t n, double eps);
void rms_norm(const double* x, const double* w, double* y, double* inverse, std::int64_t rows, std::int64_t n,
              double eps);
void rms_norm(const c10::BFloat16* x, const c10::BFloat16* w, c10::BFloat16* y, float* inverse, std::int64_t rows,
              std::int64_t n, double eps);

/// The same with a wide weight and nothing rounded before the end.
void rms_norm(const c10::BFloat16* x, const float* w, c10::BFloat16* y, float* inverse, std::int64_t rows,
              std::int64_t n, double eps);

/// dx = r (g w − x̂ mean(g w x̂)), x̂ = x r. Where dw is not null, dw [n] += g x̂.
void rms_norm_backward(const float* g, const float* x, const float* w, const float* inverse, float* dx, float* dw,
                       std::int64_t rows, std::int64_t n);
void rms_norm_backward(const double* g, const double* x, const double* w, const double* inverse, double* dx, double* dw,
                       std::int64_t rows, std::int64_t n);
void rms_norm_backward(const c10::BFloat16* g, const c10::BFloat16* x, const c10::BFloat16* w, const float* inverse,
                       c10::BFloat16* dx, float* dw, std::int64_t rows, std::int64_t n);
void rms_norm_backward(const c10::BFloat16* g, const c10::BFloat16* x, const float* w, const float* inverse,
                       c10::BFloat16* dx, float* dw, std::int64_t rows, std::int64_t n);

/// One token: heads × head_dim, the first 2·half columns of each head turned by the angles whose sine is sign · sin.
void rotary(const float* x, const float* cos, const float* sin, float sign, float* y, std::int64_t heads,
            std::int64_t head_dim, std::int64_t half);
void rotary(const double* x, const float* cos, const float* sin, float sign, double* y, std::int64_t heads,
            std::int64_t head_dim, std::int64_t half);
void rotary(const c10::BFloat16* x, const float* cos, const float* sin, float sign, c10::BFloat16* y,
            std::int64_t heads, std::int64_t head_dim, std::int64_t half);

/// The same where neighbours turn together: columns 2j and 2j + 1 by angle j.
void rotary_interleaved(const float* x, const float* cos, const float* sin, float sign, float* y, std::int64_t heads,
                        std::int64_t head_dim, std::int64_t half);
void rotary_interleaved(const double* x, const float* cos, const float* sin, float sign, double* y, std::int64_t heads,
                        std::int64_t head_dim, std::int64_t half);
void rotary_interleaved(const c10::BFloat16* x, const float* cos, const float* sin, float sign, c10::BFloat16* y,
                        std::int64_t heads, std::int64_t head_dim, std::int64_t half);

/// y = T(silu(gate)) · up.
void swiglu(const float* gate, const float* up, float* y, std::int64_t n);
void swiglu(const double* gate, const double* up, double* y, std::int64_t n);
void swiglu(const c10::BFloat16* gate, const c10::BFloat16* up, c10::BFloat16* y, std::int64_t n);

/// dgate = g up σ (1 + gate (1 − σ)) with σ = sigmoid(gate); dup = g T(silu(gate)).
void swiglu_backward(const float* g, const float* gate, const float* up, float* dgate, float* dup, std::int64_t n);
void swiglu_backward(const double* g, const double* gate, const double* up, double* dgate, double* dup, std::int64_t n);
void swiglu_backward(const c10::BFloat16* g, const c10::BFloat16* gate, const c10::BFloat16* up, c10::BFloat16* dgate,
                     c10::BFloat16* dup, std::int64_t n);

/// s[first, last) becomes exp(scale s − m) with m the maximum of scale s there, the rest of s[0, n) zero. Gives
/// m + log(sum); `sum` is the sum of what is left in s.
float softmax_row(float* s, std::int64_t n, std::int64_t first, std::int64_t last, double scale, float* sum);
double softmax_row(double* s, std::int64_t n, std::int64_t first, std::int64_t last, double scale, double* sum);

/// Backward of a softmax row: s[first, last) (scores before scaling) becomes p = exp(scale s − lse) and dp (gradients
/// of p) becomes ds = scale p (dp − delta); zero elsewhere.
void softmax_row_backward(float* s, float* dp, std::int64_t n, std::int64_t first, std::int64_t last, double scale,
                          float lse, float delta);
void softmax_row_backward(double* s, double* dp, std::int64_t n, std::int64_t first, std::int64_t last, double scale,
                          double lse, double delta);

/// s[first, last) becomes cap · tanh(scale s / cap).
void cap_row(float* s, std::int64_t first, std::int64_t last, double scale, double cap);
void cap_row(double* s, std::int64_t first, std::int64_t last, double scale, double cap);

/// softmax_row_backward where p = exp(c − lse) with c = cap · tanh(scale s / cap): ds = scale (1 − (c/cap)²) p (dp −
/// delta).
void capped_softmax_row_backward(float* s, float* dp, std::int64_t n, std::int64_t first, std::int64_t last,
                                 double scale, double cap, float lse, float delta);
void capped_softmax_row_backward(double* s, double* dp, std::int64_t n, std::int64_t first, std::int64_t last,
                                 double scale, double cap, double lse, double delta);

/// Sum of a[i] b[i].
float dot(const float* a, const float* b, std::int64_t n);
double dot(const double* a, const double* b, std::int64_t n);

/// −log softmax(z)[label] of a row of n logits (rounded to bf16 first where `round`). Where `gradient`, z becomes
/// scale · (softmax(z) − onehot(label)).
float cross_entropy_row(float* z, std::int64_t n, std::int64_t label, bool round, bool gradient, float scale);
double cross_entropy_row(double* z, std::int64_t n, std::int64_t label, bool round, bool gradient, double scale);

/// out[j] = scale · Σ_k b[k] a[k · columns + j], summed over `rank` in its order and rounded after each operation.
void summed_row(const float* b, const float* a, std::int64_t rank, std::int64_t columns, float scale, float* out);

/// One AdamW step on n elements; the arguments are the constants of the step as torch.optim.AdamW computes them.
struct AdamWStep {
  double decay;  // 1 − lr · weight_decay
  double beta1, beta2, eps;
  double step_size;        // lr / (1 − beta1^t)
  double root_correction;  // sqrt(1 − beta2^t)
};
void adamw(float* p, const float* g, float* m, float* v, std::int64_t n, const AdamWStep& step);

}  // namespace loops

}  // namespace lowrank::kernels
