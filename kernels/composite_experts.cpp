// The twins of a mixture of experts, from plain ATen ops and autograd.
#include <ATen/TensorOperators.h>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/experts.h"
#include "lowrank/kernels/host.h"

namespace lowrank::kernels::composite {

namespace {

// clamp_max, with the gradient going through at the limit itself: LibTorch's has it so until 2.13, and none there since 2.14.
at::Tensor at_most(const at::Tensor& x, double limit) { return x.masked_fill(x.gt(limit), limit); }

}  // namespace

Routed route(const at::Tensor& logits, std::int64_t per_token, Router router) {
  const at::Tensor z = logits.to(wide_dtype(logits));
  const at::Tensor values = router == Router::kSoftmaxOfTop ? z : z.softmax(-1);
  // A stable sort, not topk: of equal ones the first.
  const at::Tensor experts =
      std::get<1>(values.detach().sort(/*stable=*/true, -1, /*descending=*/true)).narrow(1, 0, per_token).contiguous();
  at::Tensor weights = values.gather(1, experts);
  if (router == Router::kRenormalised) weights = weights / weights.sum(-1, /*keepdim=*/true);
  if (router == Router::kSoftmaxOfTop) weights = weights.softmax(-1);
  return {weights.to(logits.scalar_type()), experts};
}

at::Tensor experts_linear(const at::Tensor& x, const SharedRows& rows, bool by_token, const ExpertsWeight& weight,
                          std::span<const ExpertsLora> adapters) {
  const at::Tensor token = from_host<std::int64_t>(rows->token, {rows->count()}, x.device());
  const at::Tensor all = by_token ? x.index_select(0, token) : x;
  const auto dtype = x.scalar_type();
  std::vector<at::Tensor> parts{all.narrow(0, 0, 0).matmul(x.new_empty({x.size(1), weight.out_features()}))};
  for (std::int64_t e = 0; e < rows->experts; ++e) {
    const std::int64_t begin = rows->offsets[static_cast<std::size_t>(e)];
    const std::int64_t count = rows->offsets[static_cast<std::size_t>(e) + 1] - begin;
    if (count == 0) continue;
    const at::Tensor own = all.narrow(0, begin, count);
    at::Tensor y = own.matmul(weight.matrix(e, dtype).t());
    if (weight.bias().defined()) y = y + weight.bias().select(0, e).to(dtype);
    for (const ExpertsLora& lora : adapters) {
      const at::Tensor t = own.matmul(lora.a.select(0, e).to(dtype).t());
      y = y + t.matmul(lora.b.select(0, e).to(dtype).t()) * lora.scale;
    }
    parts.push_back(y);
  }
  return aten::cat(parts);
}

at::Tensor combine_experts(const at::Tensor& y, const at::Tensor& weights, const SharedRows& rows) {
  const at::Tensor row = from_host<std::int64_t>(rows->row, {rows->count()}, y.device());
  const auto wide = wide_dtype(y);
  const at::Tensor by_token = y.index_select(0, row).view({rows->tokens, rows->per_token, y.size(1)});
  return (by_token.to(wide) * weights.to(wide).unsqueeze(-1)).sum(1).to(y.scalar_type());
}

at::Tensor clamped_swiglu(const at::Tensor& x, double alpha, double limit) {
  const auto parts = x.to(wide_dtype(x)).view({x.size(0), -1, 2}).unbind(-1);
  const at::Tensor gate = at_most(parts[0], limit), up = at_most(at_most(parts[1], limit).neg(), limit).neg();
  return ((up + 1) * (gate * (gate * alpha).sigmoid())).to(x.scalar_type());
}

}  // namespace lowrank::kernels::composite
