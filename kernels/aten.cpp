#include "lowrank/kernels/aten.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

namespace lowrank::kernels::aten {

at::Tensor empty(at::IntArrayRef shape, const at::TensorOptions& options) { return at::empty(shape, options); }

at::Tensor zeros(at::IntArrayRef shape, const at::TensorOptions& options) { return at::zeros(shape, options); }

at::Tensor cat(const std::vector<at::Tensor>& tensors, std::int64_t dim) { return at::cat(tensors, dim); }

at::Tensor eye(std::int64_t n, const at::TensorOptions& options) { return at::eye(n, options); }

at::Tensor embedding(const at::Tensor& weight, const at::Tensor& ids) { return at::embedding(weight, ids); }

std::pair<at::Tensor, at::Tensor> linalg_qr(const at::Tensor& x) {
  const auto [q, r] = at::linalg_qr(x);
  return {q, r};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> linalg_svd(const at::Tensor& x) {
  return at::linalg_svd(x, /*full_matrices=*/false);
}

std::pair<at::Tensor, at::Tensor> linalg_eigh(const at::Tensor& x) {
  const auto [values, vectors] = at::linalg_eigh(x);
  return {values, vectors};
}

void mm_out(at::Tensor out, const at::Tensor& a, const at::Tensor& b) { at::mm_out(out, a, b); }

}  // namespace lowrank::kernels::aten
