#include "lowrank/kernels/low_rank_product.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kRows = 256;

// x [groups, m, k] · y [groups, k, n].
at::Tensor product(const at::Tensor& x, const at::Tensor& y) {
  at::Tensor result = at::empty({x.size(0), x.size(1), y.size(2)}, x.options());
  for (std::int64_t g = 0; g < x.size(0); ++g) {
    for_row_chunks(x.size(1), kRows, [&](std::int64_t begin, std::int64_t end) {
      at::Tensor rows = result[g].narrow(0, begin, end - begin);
      at::mm_out(rows, x[g].narrow(0, begin, end - begin), y[g]);
    });
  }
  return result;
}

struct LowRankProduct : torch::autograd::Function<LowRankProduct> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& b, const at::Tensor& a) {
    ctx->save_for_backward({b, a});
    return product(b, a);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor g = grads[0].contiguous();
    at::Tensor db, da;
    if (ctx->needs_input_grad(0)) db = product(g, saved[1].transpose(1, 2));
    // By rows of Aᵀ's gradient, of which there are many, not by the few of A's.
    if (ctx->needs_input_grad(1)) da = product(g.transpose(1, 2), saved[0]).transpose(1, 2);
    return {db, da};
  }
};

}  // namespace

at::Tensor low_rank_product(const at::Tensor& b, const at::Tensor& a) {
  if (at::GradMode::is_enabled() && (b.requires_grad() || a.requires_grad())) return LowRankProduct::apply(b, a);
  return product(b, a);
}

}  // namespace lowrank::kernels
