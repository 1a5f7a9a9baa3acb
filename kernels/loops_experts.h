// The inner loops of a mixture of experts (see loops.h).
#pragma once

#include "lowrank/kernels/loops.h"

namespace lowrank::kernels::loops {

/// out [d] = Σ_k w[k] · y[rows[k]] over rows y [·, d], in the order of k; w null: 1. `sum` [d] is scratch.
template <typename T>
void combine_rows(const T* y, const std::int64_t* rows, const T* w, std::int64_t count, std::int64_t d, Wide<T>* sum,
                  T* out);
/// to [d] = w · g; gives Σ g · y.
template <typename T>
Wide<T> combine_row_backward(const T* g, const T* y, T w, std::int64_t d, T* to);

/// y [f] from the gates and ups of x [2 f] in turns.
template <typename T>
void clamped_swiglu(const T* x, T* y, std::int64_t f, double alpha, double limit);
/// dx [2 f].
template <typename T>
void clamped_swiglu_backward(const T* g, const T* x, T* dx, std::int64_t f, double alpha, double limit);

}  // namespace lowrank::kernels::loops
