// The inner loops of LayerNorm, the activations and the soft cap (see loops.h).
#pragma once

#include "lowrank/kernels/activation.h"
#include "lowrank/kernels/loops.h"

namespace lowrank::kernels::loops {

/// y = T((x − mean) r w + b) of each of `rows` rows of n, r = 1/sqrt(var + eps); w and b may be null. Mean and r are
/// kept.
template <typename T>
void layer_norm(const T* x, const Wide<T>* w, const Wide<T>* b, T* y, Wide<T>* mean, Wide<T>* inverse,
                std::int64_t rows, std::int64_t n, double eps);
/// dx = r (g w − mean(g w) − x̂ mean(g w x̂)). Where they are not null, dw [n] += g x̂ and db [n] += g.
template <typename T>
void layer_norm_backward(const T* g, const T* x, const Wide<T>* w, const Wide<T>* mean, const Wide<T>* inverse, T* dx,
                         Wide<T>* dw, Wide<T>* db, std::int64_t rows, std::int64_t n);

/// y = T(f(x)).
template <typename T>
void activate(Activation f, const T* x, T* y, std::int64_t n);
/// dx = g f'(x).
template <typename T>
void activate_backward(Activation f, const T* g, const T* x, T* dx, std::int64_t n);
/// y = T(f(gate)) up.
template <typename T>
void gated(Activation f, const T* gate, const T* up, T* y, std::int64_t n);
/// dgate = g up f'(gate); dup = g T(f(gate)).
template <typename T>
void gated_backward(Activation f, const T* g, const T* gate, const T* up, T* dgate, T* dup, std::int64_t n);

/// y = T(cap tanh(x / cap)).
template <typename T>
void soft_cap(const T* x, T* y, std::int64_t n, double cap);
/// dx = g (1 − tanh²(x / cap)).
template <typename T>
void soft_cap_backward(const T* g, const T* x, T* dx, std::int64_t n, double cap);

}  // namespace lowrank::kernels::loops
