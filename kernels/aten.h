// Functions of ATen under a header that is quick to read: <ATen/ops/…> of any free function ends in IValue and takes
// g++ 3 s in each file, <ATen/TensorOperators.h> takes 8. Tensor's methods are there without them, so that code here
// says x.mm(y) and x.sum(), and takes from this file what has no method.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace lowrank::kernels::aten {

/// at::empty and at::zeros.
at::Tensor empty(at::IntArrayRef shape, const at::TensorOptions& options);
at::Tensor zeros(at::IntArrayRef shape, const at::TensorOptions& options);

/// at::cat.
at::Tensor cat(const std::vector<at::Tensor>& tensors, std::int64_t dim = 0);

/// at::mm_out: out [m, n] = a [m, k] · b [k, n].
void mm_out(at::Tensor out, const at::Tensor& a, const at::Tensor& b);

}  // namespace lowrank::kernels::aten
