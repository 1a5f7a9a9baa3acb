#include "lowrank/lora/row_norms.h"

#include "lowrank/kernels/row_norms.h"

namespace lowrank::lora {
namespace {

// On a device the question would wait for the answer, longer than the norms take.
bool same(const at::Tensor& kept, const at::Tensor& now) {
  return now.is_cpu() && kept.defined() && kept.sizes() == now.sizes() && kept.scalar_type() == now.scalar_type() && kept.equal(now);
}

}  // namespace

const at::Tensor& RowNorms::of(const kernels::BaseWeight& weight, const at::Tensor& a, const at::Tensor& b,
                               double scale) {
  if (!squared_.defined()) squared_ = kernels::squared_row_norms(weight);
  const at::Tensor now_a = a.detach().contiguous(), now_b = b.detach().contiguous();
  if (norms_.defined() && scale_ == scale && same(a_, now_a) && same(b_, now_b)) return norms_;
  norms_ = kernels::adapted_row_norms(weight, squared_, now_a, now_b, scale);
  a_ = now_a.clone();
  b_ = now_b.clone();
  scale_ = scale;
  return norms_;
}

void RowNorms::forget() { *this = RowNorms(); }

}  // namespace lowrank::lora
