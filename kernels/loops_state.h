// The inner loops of the delta rule, the causal convolution and the gated norm (see loops.h). Matrices are row-major;
// W is float or double, what is computed in.
#pragma once

#include "lowrank/kernels/loops.h"

namespace lowrank::kernels::loops {

/// y = W(x): rows of n values, those of x `stride` apart.
template <typename T>
void widen_rows(const T* x, std::int64_t stride, Wide<T>* y, std::int64_t rows, std::int64_t n);
/// y = T(x), rows of y `stride` apart.
template <typename T>
void narrow_rows(const Wide<T>* x, T* y, std::int64_t stride, std::int64_t rows, std::int64_t n);

/// y = scale · x / √(Σx² + eps) of each row; 1/√… is kept in `inverse`. Rows of x are `stride` apart.
template <typename T>
void unit_rows(const T* x, std::int64_t stride, Wide<T>* y, Wide<T>* inverse, std::int64_t rows, std::int64_t n,
               double eps, double scale);
/// dx = inverse scale (g − y (y·g) / scale²).
template <typename T>
void unit_rows_backward(const Wide<T>* g, const Wide<T>* y, const Wide<T>* inverse, T* dx, std::int64_t stride,
                        std::int64_t rows, std::int64_t n, double scale);

/// A decay whose logarithm is less counts as 0. Beside the 1 of a token's own key it is nothing (e^-50 is 2^-72), and what it
/// would be multiplied with becomes denormal, at a hundred times a product's cost: of a head that forgets within a few
/// tokens that is most of a chunk.
template <typename W>
inline constexpr W kNoDecay = sizeof(W) == sizeof(float) ? W{-50} : W{-600};

/// Of a chunk's keys over queries times its keys, [2n, n]: the upper half becomes k_i·k_j e^(γ_i − γ_j) for j < i, the
/// lower q_i·k_j e^(γ_i − γ_j) for j ≤ i, zero elsewhere. The exponentials are kept in `decay` [n, n].
template <typename W>
void decay_products(W* products, W* decay, const W* gamma, std::int64_t n);

/// x [n, width] becomes (1 + a)⁻¹ x, a [n, n] of which what is below the diagonal counts, its rows `stride` apart.
template <typename W>
void substitute(const W* a, std::int64_t stride, W* x, std::int64_t n, std::int64_t width);
/// x becomes (1 + a)⁻ᵀ x.
template <typename W>
void substitute_transposed(const W* a, std::int64_t stride, W* x, std::int64_t n, std::int64_t width);

/// r_i = beta_i (v_i − e_i ks_i), rows of `width`.
template <typename W>
void delta_residual(const W* v, const W* ks, const W* e, const W* beta, W* r, std::int64_t n, std::int64_t width);
/// y_i = s_i x_i; y may be x.
template <typename W>
void scale_rows(const W* x, const W* s, W* y, std::int64_t n, std::int64_t width);

/// Gradients that meet in a chunk's products. `products` and `decay` are those of decay_products; `gradients` [2n, n]
/// holds −da and dp (of the lower half) and becomes what reaches k·k and q·k. Adds to dbeta and dgamma.
template <typename W>
void decay_products_backward(const W* products, const W* decay, const W* beta, W* gradients, W* dbeta, W* dgamma,
                             std::int64_t n);
/// Gradients that meet in a chunk's rows. dr_do [2n, width] holds dr over do and becomes what reaches k·S and q·S
/// [2n, width], ks_qs; dv_i = beta_i dr_i; dbeta_i += dr_i·(v_i − e_i ks_i); de_i = do_i·qs_i − beta_i dr_i·ks_i.
template <typename W>
void delta_rows_backward(const W* v, const W* ks_qs, const W* e, const W* beta, W* dr_do, W* dv, W* dbeta, W* de,
                         std::int64_t n, std::int64_t width);

/// One token: s [dk, dv] ← e s; s ← s + beta k (v − sᵀk)ᵀ; out = sᵀq. `delta` [dv] is scratch.
template <typename W>
void delta_step(W* s, const W* q, const W* k, const W* v, W e, W beta, W* delta, W* out, std::int64_t dk,
                std::int64_t dv);

/// sum[c] = bias[c] + Σ_j w[j · channels + c] taps[j][c], over the taps that are not null; bias may be null.
template <typename T>
void tap_sum(const T* const* taps, const Wide<T>* w, const Wide<T>* bias, Wide<T>* sum, std::int64_t k,
             std::int64_t channels);
/// y = T(silu(x)), or T(x).
template <typename T>
void silu_row(const Wide<T>* x, T* y, std::int64_t n, bool silu);
/// du = g silu'(u), or g.
template <typename T>
void silu_row_backward(const T* g, const Wide<T>* u, Wide<T>* du, std::int64_t n, bool silu);
/// dx[c] = T(Σ_j w[j · channels + c] later[j][c]), over what is not null.
template <typename T>
void tap_sum_backward(const Wide<T>* const* later, const Wide<T>* w, T* dx, std::int64_t k, std::int64_t channels);
/// sum[c] += a[c] x[c].
template <typename T>
void add_product(const Wide<T>* a, const T* x, Wide<T>* sum, std::int64_t n);

/// y = T(T(T(x r) w) silu(z)) of each row, r = 1/√(mean(x²) + eps) kept in `inverse`.
template <typename T>
void gated_rms_norm(const T* x, const T* w, const T* z, T* y, Wide<T>* inverse, std::int64_t rows, std::int64_t n,
                    double eps);
/// Where dw is not null, dw [n] += g silu(z) x̂.
template <typename T>
void gated_rms_norm_backward(const T* g, const T* x, const T* w, const T* z, const Wide<T>* inverse, T* dx, T* dz,
                             Wide<T>* dw, std::int64_t rows, std::int64_t n);

}  // namespace lowrank::kernels::loops
