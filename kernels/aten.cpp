#include "lowrank/kernels/aten.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

namespace lowrank::kernels::aten {

at::Tensor empty(at::IntArrayRef shape, const at::TensorOptions& options) { return at::empty(shape, options); }

at::Tensor zeros(at::IntArrayRef shape, const at::TensorOptions& options) { return at::zeros(shape, options); }

at::Tensor cat(const std::vector<at::Tensor>& tensors, std::int64_t dim) { return at::cat(tensors, dim); }

void mm_out(at::Tensor out, const at::Tensor& a, const at::Tensor& b) { at::mm_out(out, a, b); }

}  // namespace lowrank::kernels::aten
