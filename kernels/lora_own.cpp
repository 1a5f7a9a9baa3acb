#include "lowrank/kernels/lora_own.h"

#include <algorithm>
#include <utility>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/dropout.h"
#include "lowrank/kernels/gemm.h"
#include "lowrank/kernels/gemm/few_rows.h"
#include "lowrank/kernels/gemm/product.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kChunk = 64;  // rows

using gemm::Right;

at::Tensor columns_scaled(const at::Tensor& x, const at::Tensor& by) {
  at::Tensor result = aten::empty(x.sizes(), x.options().dtype(at::kFloat));
  for_row_chunks(x.size(0), kChunk, [&](std::int64_t begin, std::int64_t end) {
    result.narrow(0, begin, end - begin).copy_(x.narrow(0, begin, end - begin)).mul_(by);
  });
  return result;
}

// y += (gain − 1)∘p, with p the base's product of what an adapter's dropout leaves of x, which it keeps in `product`.
void add_own_product(const at::Tensor& y, const at::Tensor& x, const BaseWeight& base, const LoraFactors& lora,
                     const at::Tensor& product) {
  at::Tensor p = aten::empty(y.sizes(), y.options().dtype(at::kFloat));
  gemm::multiply(p, dropped_input(x, lora.dropout), Right::of_transposed(base));
  const at::Tensor rest = lora.gain.sub(1);
  for_row_chunks(y.size(0), kChunk, [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor rows = p.narrow(0, begin, end - begin);
    if (product.defined()) product.narrow(0, begin, end - begin).copy_(rows);
    y.narrow(0, begin, end - begin).add_(rows.mul_(rest));
  });
}

// dx += drop((gain − 1)∘g W + s · u A), the first part with DoRA alone.
void add_dropped_gradient(const at::Tensor& dx, const at::Tensor& g, const at::Tensor& u, const BaseWeight& base,
                          const LoraFactors& lora) {
  const std::int64_t rows = dx.size(0), out = lora.gain.defined() ? g.size(1) : 0;
  at::Tensor d = aten::empty(dx.sizes(), dx.options().dtype(at::kFloat));
  gemm::Target target{d, {}};
  std::vector<gemm::LeftPart> parts;
  if (out > 0) {
    parts.push_back({columns_scaled(g, lora.gain.sub(1)), 0});
    target.terms.push_back({0, Right::of(base)});
  }
  parts.push_back({u, out});
  target.terms.push_back({out, Right::of_matrix(lora.a, lora.scale)});
  gemm::multiply(rows, out + u.size(1), parts, {}, {target});
  for_row_chunks(rows, kChunk, [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor some = d.narrow(0, begin, end - begin);
    drop_tile(some, lora.dropout, begin, 0);
    dx.narrow(0, begin, end - begin).add_(some);
  });
}

}  // namespace

at::Tensor base_scale(std::span<const LoraFactors> adapters) {
  at::Tensor scale;
  for (const LoraFactors& lora : adapters) {
    if (lora.gain.defined() && lora.dropout.p == 0) scale = scale.defined() ? scale.add(lora.gain).sub_(1) : lora.gain;
  }
  return scale;
}

LoraForward own_forward(const at::Tensor& x, const BaseWeight& base, std::span<const LoraFactors> adapters) {
  const std::int64_t rows = x.size(0), in = base.in_features(), out = base.out_features();
  LoraForward result;
  result.y = aten::empty({rows, out}, x.options());
  gemm::Target target{result.y, {{0, Right::of_transposed(base), base_scale(adapters)}}};
  if (base.bias().defined()) target.bias = base.bias().detach().to(at::kFloat).contiguous();
  at::Tensor shared;  // x Wᵀ, for the adapters without dropout
  std::vector<gemm::Side> sides;
  std::int64_t inner = in;
  bool sums_on = false;
  for (const LoraFactors& lora : adapters) {
    const std::int64_t rank = lora.a.size(0);
    result.t.push_back(aten::empty({rows, rank}, x.options().dtype(at::kFloat)));
    at::Tensor product;
    if (lora.keeps_product)
      product = has_own_product(lora) || !shared.defined() ? aten::empty({rows, out}, x.options()) : shared;
    if (lora.keeps_product && !has_own_product(lora)) shared = product;
    result.product.push_back(product);
    sides.push_back({lora.a.t(), result.t.back(), 0, inner, lora.dropout});
    target.terms.push_back({inner, Right::of_matrix(lora.b.t(), lora.scale)});
    inner += rank;
    sums_on = sums_on || has_own_product(lora);
  }
  target.terms.front().product = shared;
  if (sums_on && x.scalar_type() != at::kFloat) target.out = aten::empty({rows, out}, x.options().dtype(at::kFloat));
  gemm::multiply(rows, inner, {{x}}, sides, {target});
  if (!sums_on) return result;
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    if (has_own_product(adapters[i])) add_own_product(target.out, x, base, adapters[i], result.product[i]);
  }
  if (target.out.is_same(result.y)) return result;
  for_row_chunks(rows, kChunk, [&](std::int64_t begin, std::int64_t end) {
    result.y.narrow(0, begin, end - begin).copy_(target.out.narrow(0, begin, end - begin));
  });
  return result;
}

bool few_rows_fit(const at::Tensor& x, std::span<const LoraFactors> adapters) {
  return gemm::takes_few(product_dtype(x.scalar_type()), x.size(0)) &&
         std::all_of(adapters.begin(), adapters.end(), [](const LoraFactors& lora) { return lora.dropout.p == 0; });
}

LoraForward few_rows_forward(const at::Tensor& x, const BaseWeight& base, std::span<const LoraFactors> adapters) {
  const std::int64_t rows = x.size(0), out = base.out_features();
  const at::Tensor left = converted(x, at::kFloat);
  LoraForward result;
  result.y = aten::empty({rows, out}, x.options());
  at::Tensor shared;  // x Wᵀ
  std::vector<at::Tensor> b;
  for (const LoraFactors& lora : adapters) {
    if (lora.keeps_product && !shared.defined()) shared = aten::empty({rows, out}, x.options());
    result.product.push_back(lora.keeps_product ? shared : at::Tensor());
    result.t.push_back(aten::empty({rows, lora.a.size(0)}, left.options()));
    const at::Tensor a = lora.a.contiguous();
    for_row_chunks(a.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
      gemm::dot_products(result.t.back().narrow(1, begin, end - begin), left, a.narrow(0, begin, end - begin));
    });
    b.push_back(lora.b.contiguous());
  }
  const at::Tensor scale = base_scale(adapters);
  const at::Tensor bias = base.bias().defined() ? base.bias().detach().to(at::kFloat) : at::Tensor();
  const bool direct = x.scalar_type() == at::kFloat;
  gemm::for_columns(out, rows * base.in_features(), [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t n = end - begin;
    const at::Tensor target = result.y.narrow(1, begin, n);
    const at::Tensor y = direct ? target : aten::empty({rows, n}, left.options());
    gemm::dot_products(y, left, base, begin);
    if (shared.defined()) shared.narrow(1, begin, n).copy_(y);
    if (scale.defined()) y.mul_(scale.narrow(0, begin, n));
    if (bias.defined()) y.add_(bias.narrow(0, begin, n));
    for (std::size_t i = 0; i < adapters.size(); ++i)
      gemm::dot_products(y, result.t[i], b[i].narrow(0, begin, n), adapters[i].scale, /*accumulate=*/true);
    if (!direct) target.copy_(y);
  });
  return result;
}

std::vector<at::Tensor> own_input_gradients(const at::Tensor& g, const BaseWeight& base,
                                            std::span<const LoraFactors> adapters, const at::Tensor& dx) {
  const std::int64_t rows = g.size(0), out = base.out_features();
  const at::Tensor scale = dx.defined() ? base_scale(adapters) : at::Tensor();
  std::vector<at::Tensor> u;
  std::vector<gemm::Side> sides;
  std::vector<gemm::Target> targets;
  std::vector<gemm::LeftPart> parts{{g}};
  std::int64_t inner = out;
  if (scale.defined()) {  // what W is multiplied with, beside what B is
    parts.push_back({columns_scaled(g, scale), out});
    inner += out;
  }
  if (dx.defined()) targets.push_back({dx, {{inner - out, Right::of(base)}}});
  for (const LoraFactors& lora : adapters) {
    const std::int64_t rank = lora.b.size(1);
    u.push_back(aten::empty({rows, rank}, g.options().dtype(at::kFloat)));
    sides.push_back({lora.b, u.back(), 0, inner});
    if (dx.defined() && lora.dropout.p == 0)
      targets[0].terms.push_back({inner, Right::of_matrix(lora.a, lora.scale)});
    inner += rank;
  }
  if (!targets.empty() || !sides.empty()) gemm::multiply(rows, inner, parts, sides, targets);
  for (std::size_t i = 0; dx.defined() && i < adapters.size(); ++i) {
    if (adapters[i].dropout.p > 0) add_dropped_gradient(dx, g, u[i], base, adapters[i]);
  }
  return u;
}

}  // namespace lowrank::kernels
