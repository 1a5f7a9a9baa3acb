#include "lowrank/kernels/lora_linear_impl.h"

#include <algorithm>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/dropout.h"
#include "lowrank/kernels/gemm.h"
#include "lowrank/kernels/gemm/product.h"
#include "lowrank/kernels/lora_own.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

at::ScalarType gradient_dtype(const at::Tensor& x) { return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

// A tile of x as the adapter sees it.
at::Tensor dropped(const at::Tensor& tile, const DropoutPlace& dropout, std::int64_t row, std::int64_t column) {
  if (dropout.p == 0) return tile;
  at::Tensor copy = tile.clone(at::MemoryFormat::Contiguous);
  drop_tile(copy, dropout, row, column);
  return copy;
}

}  // namespace

LoraForward lora_forward(const at::Tensor& x, const BaseWeight& base, std::span<const LoraFactors> adapters) {
  if (gemm::takes(product_dtype(x.scalar_type()), x.size(0))) return own_forward(x, base, adapters);
  if (few_rows_fit(x, adapters)) return few_rows_forward(x, base, adapters);
  const std::int64_t rows = x.size(0), out = base.out_features();
  const auto dtype = product_dtype(x.scalar_type());
  const auto options = x.options().dtype(dtype);
  LoraForward result;
  result.y = aten::empty({rows, out}, x.options());
  at::Tensor shared;  // x Wᵀ, for the adapters without dropout
  for (const LoraFactors& lora : adapters) {
    result.t.push_back(aten::empty({rows, lora.a.size(0)}, options));
    at::Tensor product;
    if (lora.keeps_product)
      product = has_own_product(lora) || !shared.defined() ? aten::empty({rows, out}, x.options()) : shared;
    if (lora.keeps_product && !has_own_product(lora)) shared = product;
    result.product.push_back(product);
  }
  const at::Tensor row_scale = base_scale(adapters);
  const at::Tensor wide_bias = base.bias().defined() ? base.bias().detach().to(dtype) : base.bias();
  const bool direct = x.scalar_type() == dtype;

  // One tile of y: columns [c, c + n) of the rows [begin, end), whose x is given in the products' dtype.
  const auto tile = [&](const at::Tensor& w, const at::Tensor& xt, std::int64_t begin, std::int64_t end, std::int64_t c,
                        std::int64_t n) {
    at::Tensor target = result.y.narrow(0, begin, end - begin).narrow(1, c, n);
    at::Tensor y = direct ? target : aten::empty({end - begin, n}, options);
    multiply_tile(y, xt, w);
    if (shared.defined()) shared.narrow(0, begin, end - begin).narrow(1, c, n).copy_(y);
    if (row_scale.defined()) y.mul_(row_scale.narrow(0, c, n));
    if (wide_bias.defined()) y.add_(wide_bias.narrow(0, c, n));
    for (std::size_t i = 0; i < adapters.size(); ++i) {
      const LoraFactors& lora = adapters[i];
      if (has_own_product(lora)) {
        const at::Tensor own = aten::empty({end - begin, n}, options);
        multiply_tile(own, dropped(xt, lora.dropout, begin, 0), w);
        if (lora.keeps_product) result.product[i].narrow(0, begin, end - begin).narrow(1, c, n).copy_(own);
        y.add_(own.mul(lora.gain.narrow(0, c, n).sub(1)));
      }
      y.addmm_(result.t[i].narrow(0, begin, end - begin), adapters[i].b.narrow(0, c, n).t(), 1, adapters[i].scale);
    }
    if (!direct) target.copy_(y);
  };
  const auto side = [&](const at::Tensor& xt, std::int64_t begin, std::int64_t end) {
    for (std::size_t i = 0; i < adapters.size(); ++i) {
      at::Tensor t = result.t[i].narrow(0, begin, end - begin);
      aten::mm_out(t, dropped(xt, adapters[i].dropout, begin, 0), adapters[i].a.t());
    }
  };

  if (rows <= kFewRows) {
    const at::Tensor xt = converted(x, dtype);
    side(xt, 0, rows);
    for_row_chunks(out, 64, [&](std::int64_t begin, std::int64_t end) {
      tile(base.rows(begin, end - begin, dtype).t(), xt, 0, rows, begin, end - begin);
    });
    return result;
  }
  const bool whole = base.gives_views(dtype) && gemm_path() == GemmPath::kPlain;
  const std::int64_t block = whole ? out : block_count(base.in_features());
  for (std::int64_t c = 0; c < out; c += block) {
    const std::int64_t n = std::min(block, out - c);
    const at::Tensor w = base.rows(c, n, dtype).t();
    for_row_chunks(rows, tile_rows(rows), [&](std::int64_t begin, std::int64_t end) {
      const at::Tensor xt = converted(x.narrow(0, begin, end - begin), dtype);
      if (c == 0) side(xt, begin, end);
      tile(w, xt, begin, end, c, n);
    });
  }
  return result;
}

namespace {

// u = g B of every adapter, and dx = g W + Σ s · drop(u A).
std::vector<at::Tensor> input_gradients(const at::Tensor& g, const BaseWeight& base,
                                        std::span<const LoraFactors> adapters, at::Tensor& dx) {
  const std::int64_t rows = g.size(0), in = base.in_features();
  const auto dtype = product_dtype(g.scalar_type());
  const auto options = g.options().dtype(dtype);
  const bool direct = g.scalar_type() == dtype;
  std::vector<at::Tensor> u;
  for (const LoraFactors& lora : adapters) u.push_back(aten::empty({rows, lora.b.size(1)}, options));
  const auto side = [&](const at::Tensor& gt, std::int64_t begin, std::int64_t end) {
    for (std::size_t i = 0; i < adapters.size(); ++i) {
      at::Tensor ut = u[i].narrow(0, begin, end - begin);
      aten::mm_out(ut, gt, adapters[i].b);
    }
  };
  if (!dx.defined()) {
    for_row_chunks(adapters.empty() ? 0 : rows, tile_rows(rows), [&](std::int64_t begin, std::int64_t end) {
      side(converted(g.narrow(0, begin, end - begin), dtype), begin, end);
    });
    return u;
  }
  const at::Tensor row_scale = base_scale(adapters);
  const bool whole = base.gives_views(dtype) && gemm_path() == GemmPath::kPlain;
  const std::int64_t block = whole ? in : block_count(base.out_features());
  for (std::int64_t c = 0; c < in; c += block) {
    const std::int64_t n = std::min(block, in - c);
    const at::Tensor w = base.columns(c, n, dtype);
    for_row_chunks(rows, tile_rows(rows), [&](std::int64_t begin, std::int64_t end) {
      const at::Tensor gt = converted(g.narrow(0, begin, end - begin), dtype);
      if (c == 0) side(gt, begin, end);
      at::Tensor target = dx.narrow(0, begin, end - begin).narrow(1, c, n);
      at::Tensor d = direct ? target : aten::empty({end - begin, n}, options);
      multiply_tile(d, row_scale.defined() ? gt.mul(row_scale).to(dtype) : gt, w);
      for (std::size_t i = 0; i < adapters.size(); ++i) {
        const LoraFactors& lora = adapters[i];
        const at::Tensor ut = u[i].narrow(0, begin, end - begin), a = lora.a.narrow(1, c, n);
        if (lora.dropout.p == 0) {
          d.addmm_(ut, a, 1, lora.scale);
        } else {
          const at::Tensor side_gradient = ut.mm(a).mul_(lora.scale);
          if (has_own_product(lora)) multiply_tile(side_gradient, gt.mul(lora.gain.sub(1)).to(dtype), w, /*accumulate=*/true);
          drop_tile(side_gradient, lora.dropout, begin, c);
          d.add_(side_gradient);
        }
      }
      if (!direct) target.copy_(d);
    });
  }
  return u;
}

}  // namespace

LoraBackward lora_backward(const at::Tensor& gradient, const at::Tensor& x, const BaseWeight& base,
                           std::span<const LoraFactors> adapters, std::span<const at::Tensor> t,
                           const LoraNeeds& needs) {
  const at::Tensor g = gradient.contiguous();
  const std::int64_t rows = g.size(0);
  const auto wide = gradient_dtype(g);
  const auto options = g.options().dtype(wide);
  LoraBackward result;
  if (needs.dx) result.dx = aten::empty({rows, base.in_features()}, g.options());
  const bool own = gemm::takes(product_dtype(g.scalar_type()), rows);
  const std::vector<at::Tensor> u =
      own ? own_input_gradients(g, base, adapters, result.dx) : input_gradients(g, base, adapters, result.dx);

  // Thin products with the whole stream as inner dimension: each task owns some columns of x or of g.
  for (std::size_t i = 0; needs.adapters && i < adapters.size(); ++i) {
    const LoraFactors& lora = adapters[i];
    const std::int64_t in = lora.a.size(1), out = lora.b.size(0);
    if (!lora.trains) {
      result.da.emplace_back();
      result.db.emplace_back();
      continue;
    }
    result.da.push_back(aten::empty({lora.a.size(0), in}, options));
    result.db.push_back(aten::empty({out, lora.b.size(1)}, options));
    const at::Tensor ui = converted(u[i], wide), ti = converted(t[i], wide);
    if (gemm::takes(wide, rows)) {
      gemm::multiply_outer(result.da[i], ui, dropped_input(x, lora.dropout), lora.scale, /*transposed=*/false);
      gemm::multiply_outer(result.db[i], ti, g, lora.scale, /*transposed=*/true);
      continue;
    }
    for_row_chunks(in, 64, [&](std::int64_t begin, std::int64_t end) {
      const at::Tensor columns = dropped(converted(x.narrow(1, begin, end - begin), wide), lora.dropout, 0, begin);
      result.da[i].narrow(1, begin, end - begin).addmm_(ui.t(), columns, 0, lora.scale);
    });
    multiply_outer(result.db[i], g, ti, lora.scale);
  }
  if (needs.dw) {
    at::Tensor dw = aten::empty({base.out_features(), base.in_features()}, options);
    multiply_outer(dw, g, x, 1);
    result.dw = dw.to(base.dtype());
  }
  if (needs.dbias) {
    result.dbias = aten::empty({base.out_features()}, options);
    for_row_chunks(base.out_features(), 64, [&](std::int64_t begin, std::int64_t end) {
      result.dbias.narrow(0, begin, end - begin).copy_(g.narrow(1, begin, end - begin).sum(0, false, at::kDouble));
    });
  }
  return result;
}

std::pair<at::Tensor, at::Tensor> dora_gradients(const at::Tensor& gradient, const at::Tensor& product,
                                                 const at::Tensor& b, const at::Tensor& d, const at::Tensor& magnitude,
                                                 const at::Tensor& norms) {
  const at::Tensor g = gradient.contiguous();
  const auto wide = d.scalar_type();
  at::Tensor db = aten::empty(d.sizes(), d.options()), dm = aten::empty({d.size(0)}, d.options());
  for_row_chunks(d.size(0), 64, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t n = end - begin;
    const at::Tensor rows = d.narrow(0, begin, n), norm = norms.narrow(0, begin, n).to(at::kDouble);
    at::Tensor sum = rows.mul(b.narrow(0, begin, n).to(wide)).sum(1, false, at::kDouble);
    if (product.defined()) {
      const at::Tensor moved = g.narrow(1, begin, n).to(wide).mul(product.narrow(1, begin, n).to(wide));
      sum.add_(moved.sum(0, false, at::kDouble));
    }
    dm.narrow(0, begin, n).copy_(sum.div_(norm));
    const at::Tensor gain = magnitude.narrow(0, begin, n).to(wide).div(norms.narrow(0, begin, n).to(wide));
    db.narrow(0, begin, n).copy_(rows.mul(gain.unsqueeze(1)));
  });
  return {db, dm};
}

}  // namespace lowrank::kernels
