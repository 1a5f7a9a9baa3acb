#include <algorithm>
#include <string>
#include <utility>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/experts.h"
#include "lowrank/kernels/experts_own.h"
#include "lowrank/kernels/gemm.h"
#include "lowrank/kernels/gemm/few_rows.h"
#include "lowrank/kernels/gemm/product.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/loops_experts.h"
#include "lowrank/kernels/profile.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kTileRows = 256, kTileColumns = 256, kChunk = 128;

struct Settings {
  SharedRows rows;
  ExpertsWeight weight;
  std::vector<double> scales;  // of the adapters
  bool gathers = false;        // x is by token
  at::Tensor token;            // int64 [T K]

  // Places among the inputs: x, the weight's leaves where it is trained, the bias where it is, A₁, B₁, A₂ …
  bool trains_bias() const { return weight.bias().defined() && weight.bias().requires_grad(); }
  std::size_t bias() const { return 1 + (weight.trains() ? weight.leaves().size() : 0); }
  std::size_t matrices() const { return bias() + (trains_bias() ? 1 : 0); }
};

struct Factors {
  at::Tensor a, b;  // [E, r, in], [E, out, r] in the products' dtype
  double scale = 1;
  bool trains = false;
};

std::vector<Factors> factors(const Settings& s, const std::vector<at::Tensor>& inputs, at::ScalarType dtype) {
  std::vector<Factors> result;
  for (std::size_t i = 0; i < s.scales.size(); ++i) {
    const at::Tensor &a = inputs[s.matrices() + 2 * i], &b = inputs[s.matrices() + 2 * i + 1];
    result.push_back({a.detach().to(dtype).contiguous(), b.detach().to(dtype).contiguous(), s.scales[i],
                      a.requires_grad() || b.requires_grad()});
  }
  return result;
}

// Operations of the products of all rows; without W's, of the adapters' gradients.
double product_flops(const Settings& s, const std::vector<Factors>& adapters, bool with_weight) {
  const std::int64_t in = s.weight.in_features(), out = s.weight.out_features();
  std::int64_t each = with_weight ? in * out : 0;
  for (const Factors& lora : adapters) each += with_weight || lora.trains ? lora.a.size(1) * (in + out) : 0;
  return 2.0 * static_cast<double>(s.rows->count()) * static_cast<double>(each);
}

// Of one expert, with where its sides [T K, r] are left.
std::vector<ExpertFactors> at_expert(const std::vector<Factors>& all, std::int64_t expert,
                                     const std::vector<at::Tensor>& sides, std::int64_t begin, std::int64_t rows) {
  std::vector<ExpertFactors> result;
  for (std::size_t i = 0; i < all.size(); ++i)
    result.push_back({all[i].a.select(0, expert), all[i].b.select(0, expert), all[i].scale, sides[i].narrow(0, begin, rows)});
  return result;
}

// Some rows of one expert.
struct RowTile {
  std::int64_t expert, begin, rows;
};
// And some columns of what is made of them.
struct Tile {
  RowTile rows;
  std::int64_t column, columns;
};

// Each expert's rows as one tile, experts without rows too.
std::vector<RowTile> expert_tiles(const ExpertRows& rows) {
  std::vector<RowTile> tiles;
  for (std::int64_t e = 0; e < rows.experts; ++e) {
    const std::int64_t begin = rows.offsets[static_cast<std::size_t>(e)];
    tiles.push_back({e, begin, rows.offsets[static_cast<std::size_t>(e) + 1] - begin});
  }
  return tiles;
}

// Experts whose products our own kernels form, and the others.
struct Shares {
  std::vector<RowTile> own, others;

  Shares(const ExpertRows& rows, at::ScalarType dtype) {
    for (const RowTile& tile : expert_tiles(rows)) (gemm::takes(dtype, tile.rows) ? own : others).push_back(tile);
  }
};

std::vector<RowTile> cut(const std::vector<RowTile>& experts, std::int64_t most) {
  std::vector<RowTile> tiles;
  for (const auto& [e, first, rows] : experts) {
    for (std::int64_t done = 0; done < rows; done += most) tiles.push_back({e, first + done, std::min(most, rows - done)});
  }
  return tiles;
}

std::vector<Tile> tiles_of(const std::vector<RowTile>& rows, std::int64_t columns, std::int64_t most) {
  std::vector<Tile> tiles;
  for (const RowTile& tile : rows) {
    for (std::int64_t c = 0; c < columns; c += most) tiles.push_back({tile, c, std::min(most, columns - c)});
  }
  return tiles;
}

template <typename Tiles, typename F>
void for_tiles(const Tiles& tiles, const F& f) {
  for_row_chunks(static_cast<std::int64_t>(tiles.size()), 1,
                 [&](std::int64_t i, std::int64_t) { f(tiles[static_cast<std::size_t>(i)]); });
}

// x of a tile's rows, all of its columns or some; and in a dtype.
at::Tensor rows_of(const Settings& s, const at::Tensor& x, const RowTile& tile) {
  return s.gathers ? x.index_select(0, s.token.narrow(0, tile.begin, tile.rows)) : x.narrow(0, tile.begin, tile.rows);
}
at::Tensor rows_of(const Settings& s, const at::Tensor& x, const RowTile& tile, at::ScalarType dtype) {
  return converted(rows_of(s, x, tile), dtype);
}

// f(part, its first column of y within the tile's, its first row, how many) for the parts of a weight that the columns
// [c, c + n) of y are of.
template <typename F>
void for_parts(const std::vector<BaseWeight>& parts, std::int64_t c, std::int64_t n, const F& f) {
  std::int64_t before = 0;
  for (const BaseWeight& part : parts) {
    const std::int64_t first = std::max(c, before), last = std::min(c + n, before + part.out_features());
    if (first < last) f(part, first - c, first - before, last - first);
    before += part.out_features();
  }
}

at::Tensor forward_pass(const at::Tensor& x, const Settings& s, const std::vector<Factors>& adapters,
                        std::vector<at::Tensor>& t) {
  const ProfileScope profiled("experts", product_flops(s, adapters, true));
  const auto dtype = product_dtype(x.scalar_type());
  const auto options = x.options().dtype(dtype);
  const std::int64_t out = s.weight.out_features();
  const bool direct = x.scalar_type() == dtype;
  at::Tensor y = aten::empty({s.rows->count(), out}, x.options());
  for (const Factors& lora : adapters) t.push_back(aten::empty({s.rows->count(), lora.a.size(1)}, options));
  const at::Tensor& bias = s.weight.bias();
  const Shares shares(*s.rows, dtype);
  for (const RowTile& tile : shares.own) {
    const at::Tensor own_bias = bias.defined() ? bias.detach().select(0, tile.expert).to(dtype).contiguous() : bias;
    own_expert_forward(y.narrow(0, tile.begin, tile.rows), rows_of(s, x, tile), s.weight.parts(tile.expert), own_bias,
                       at_expert(adapters, tile.expert, t, tile.begin, tile.rows));
  }
  const std::vector<RowTile> by_rows = cut(shares.others, kTileRows);
  for_tiles(adapters.empty() ? std::vector<RowTile>{} : by_rows, [&](const RowTile& tile) {
    const at::Tensor xt = rows_of(s, x, tile, dtype);
    for (std::size_t i = 0; i < adapters.size(); ++i) {
      aten::mm_out(t[i].narrow(0, tile.begin, tile.rows), xt, adapters[i].a.select(0, tile.expert).t());
    }
  });
  for_tiles(tiles_of(by_rows, out, kTileColumns), [&](const Tile& tile) {
    const auto [e, begin, rows] = tile.rows;
    const at::Tensor xt = rows_of(s, x, tile.rows, dtype);
    const at::Tensor target = y.narrow(0, begin, rows).narrow(1, tile.column, tile.columns);
    const at::Tensor yt = direct ? target : aten::empty({rows, tile.columns}, options);
    for_parts(s.weight.parts(e), tile.column, tile.columns,
              [&, count = rows](const BaseWeight& part, std::int64_t at, std::int64_t row, std::int64_t n) {
                if (gemm::takes_few(dtype, count)) {
                  gemm::dot_products(yt.narrow(1, at, n), xt, part, row);
                } else {
                  multiply_tile(yt.narrow(1, at, n), xt, part.rows(row, n, dtype).t());
                }
              });
    if (bias.defined()) {
      yt.add_(bias.detach().select(0, e).narrow(0, tile.column, tile.columns).to(dtype));
    }
    for (std::size_t i = 0; i < adapters.size(); ++i) {
      yt.addmm_(t[i].narrow(0, begin, rows), adapters[i].b.select(0, e).narrow(0, tile.column, tile.columns).t(), 1,
                adapters[i].scale);
    }
    if (!direct) target.copy_(yt);
  });
  return y;
}

// A token's sum over its rows.
at::Tensor sum_by_token(const at::Tensor& by_row, const ExpertRows& rows) {
  const std::int64_t width = by_row.size(1), k = rows.per_token;
  at::Tensor result = aten::empty({rows.tokens, width}, by_row.options());
  with_element_type(by_row, [&](auto tag) {
    using T = decltype(tag);
    const T* const from = by_row.const_data_ptr<T>();
    T* const to = result.mutable_data_ptr<T>();
    for_row_chunks(rows.tokens, 16, [&](std::int64_t begin, std::int64_t end) {
      std::vector<Wide<T>> sum(static_cast<std::size_t>(width));
      for (std::int64_t i = begin; i < end; ++i) {
        loops::combine_rows<T>(from, rows.row.data() + i * k, nullptr, k, width, sum.data(), to + i * width);
      }
    });
  });
  return result;
}

// dx [T K, in] = g W + Σ s·u A of some rows.
void input_gradient(const at::Tensor& dx, const at::Tensor& g, const Settings& s, const std::vector<RowTile>& experts,
                    const std::vector<Factors>& adapters, const std::vector<at::Tensor>& u) {
  const auto dtype = dx.scalar_type();
  for_tiles(tiles_of(cut(experts, kTileRows), dx.size(1), kTileColumns), [&](const Tile& tile) {
    const auto [e, begin, rows] = tile.rows;
    const at::Tensor gt = converted(g.narrow(0, begin, rows), dtype);
    const at::Tensor d = dx.narrow(0, begin, rows).narrow(1, tile.column, tile.columns);
    for_parts(s.weight.parts(e), 0, s.weight.out_features(),
              [&](const BaseWeight& part, std::int64_t at, std::int64_t, std::int64_t n) {
                multiply_tile(d, gt.narrow(1, at, n), part.columns(tile.column, tile.columns, dtype), /*accumulate=*/at > 0);
              });
    for (std::size_t i = 0; i < adapters.size(); ++i) {
      d.addmm_(u[i].narrow(0, begin, rows), adapters[i].a.select(0, e).narrow(1, tile.column, tile.columns), 1,
               adapters[i].scale);
    }
  });
}

// to [m, n] = scale · leftᵀ right over their common rows, which may be none.
void outer(const at::Tensor& to, const at::Tensor& left, const at::Tensor& right, double scale) {
  if (left.size(0) == 0) {
    to.zero_();
    return;
  }
  aten::mm_out(to, left.t(), right);
  if (scale != 1) to.mul_(scale);
}

std::vector<at::Tensor> gradients_of(const Settings& s, const BackwardPass& pass) {
  const std::size_t count = s.scales.size(), inputs = s.matrices() + 2 * count;
  const at::Tensor g = pass.gradient.contiguous();
  const at::Tensor& x = pass.saved[0];
  const auto dtype = product_dtype(g.scalar_type());
  const auto wide = wide_dtype(g);
  const auto options = g.options().dtype(wide);
  const std::vector<Factors> adapters = factors(s, pass.saved, dtype);
  const ProfileScope profiled("experts backward", (pass.needs(0) ? product_flops(s, adapters, true) : 0) +
                                                      product_flops(s, adapters, false));
  std::vector<at::Tensor> result(inputs), u;
  for (const Factors& lora : adapters) u.push_back(aten::empty({g.size(0), lora.b.size(2)}, g.options().dtype(dtype)));
  const Shares shares(*s.rows, dtype);
  at::Tensor dx;
  if (pass.needs(0)) dx = aten::empty({g.size(0), s.weight.in_features()}, g.options().dtype(dtype));
  for (const auto& [e, begin, rows] : shares.own) {
    own_expert_backward(dx.defined() ? dx.narrow(0, begin, rows) : dx, g.narrow(0, begin, rows), s.weight.parts(e),
                        at_expert(adapters, e, u, begin, rows));
  }
  for_tiles(adapters.empty() ? std::vector<RowTile>{} : cut(shares.others, kTileRows), [&](const RowTile& tile) {
    const at::Tensor gt = converted(g.narrow(0, tile.begin, tile.rows), dtype);
    for (std::size_t i = 0; i < count; ++i) {
      aten::mm_out(u[i].narrow(0, tile.begin, tile.rows), gt, adapters[i].b.select(0, tile.expert));
    }
  });
  if (dx.defined()) {
    input_gradient(dx, g, s, shares.others, adapters, u);
    result[0] = converted(s.gathers ? sum_by_token(dx, *s.rows) : dx, g.scalar_type());
  }

  const std::int64_t in = s.weight.in_features(), out = s.weight.out_features();
  for (std::size_t i = 0; i < count; ++i) {
    if (!adapters[i].trains) continue;
    const std::size_t a = s.matrices() + 2 * i, b = a + 1;
    const at::Tensor da = aten::empty(adapters[i].a.sizes(), options), db = aten::empty(adapters[i].b.sizes(), options);
    const at::Tensor ui = converted(u[i], wide), t = converted(pass.saved[inputs + i], wide);
    for (const RowTile& tile : shares.own) {
      const auto [e, begin, rows] = tile;
      gemm::multiply_outer(da.select(0, e), ui.narrow(0, begin, rows), rows_of(s, x, tile), adapters[i].scale,
                           /*transposed=*/false);
      gemm::multiply_outer(db.select(0, e), t.narrow(0, begin, rows), g.narrow(0, begin, rows), adapters[i].scale,
                           /*transposed=*/true);
    }
    for_tiles(tiles_of(shares.others, in, kChunk), [&](const Tile& tile) {
      const auto [e, begin, rows] = tile.rows;
      const at::Tensor columns = x.narrow(1, tile.column, tile.columns);
      outer(da.select(0, e).narrow(1, tile.column, tile.columns), ui.narrow(0, begin, rows),
            rows_of(s, columns, tile.rows, wide), adapters[i].scale);
    });
    for_tiles(tiles_of(shares.others, out, kChunk), [&](const Tile& tile) {
      const auto [e, begin, rows] = tile.rows;
      const at::Tensor columns = converted(g.narrow(0, begin, rows).narrow(1, tile.column, tile.columns), wide);
      outer(db.select(0, e).narrow(0, tile.column, tile.columns), columns, t.narrow(0, begin, rows), adapters[i].scale);
    });
    if (pass.needs(a)) result[a] = da.to(pass.saved[a].scalar_type());
    if (pass.needs(b)) result[b] = db.to(pass.saved[b].scalar_type());
  }

  const std::vector<RowTile> by_expert = expert_tiles(*s.rows);
  if (s.weight.trains()) {
    std::vector<at::Tensor> dw;
    for (const at::Tensor& leaf : s.weight.leaves()) dw.push_back(aten::empty(leaf.sizes(), options));
    for_tiles(by_expert, [&](const RowTile& tile) {
      const at::Tensor xt = rows_of(s, x, tile, wide), gt = converted(g.narrow(0, tile.begin, tile.rows), wide);
      std::int64_t before = 0;
      for (const at::Tensor& view : s.weight.views_in(dw, tile.expert)) {
        const at::Tensor part = aten::empty(view.sizes(), options);
        outer(part, gt.narrow(1, before, view.size(0)), xt, 1);
        view.copy_(part);
        before += view.size(0);
      }
    });
    for (std::size_t i = 0; i < dw.size(); ++i) result[1 + i] = dw[i].to(s.weight.dtype());
  }
  if (s.trains_bias()) {
    const at::Tensor dbias = aten::empty(s.weight.bias().sizes(), options);
    for_tiles(by_expert, [&](const RowTile& tile) {
      dbias.select(0, tile.expert).copy_(g.narrow(0, tile.begin, tile.rows).sum(0, false, at::kDouble));
    });
    result[s.bias()] = dbias.to(s.weight.bias().scalar_type());
  }
  return result;
}

void check(const at::Tensor& x, const SharedRows& rows, bool by_token, const ExpertsWeight& weight,
           std::span<const ExpertsLora> adapters) {
  const auto fail = [](const std::string& what) { throw InternalError("kernels::experts_linear: " + what); };
  if (rows->experts != weight.experts())
    fail("rows and weight are of " + std::to_string(rows->experts) + " and " + std::to_string(weight.experts()) +
         " experts");
  if (x.dim() != 2 || x.size(1) != weight.in_features() || x.size(0) != (by_token ? rows->tokens : rows->count())) {
    fail("x [rows, " + std::to_string(weight.in_features()) + "] is expected");
  }
  for (const ExpertsLora& lora : adapters) {
    if (lora.a.dim() != 3 || lora.b.dim() != 3 || lora.a.size(0) != weight.experts() ||
        lora.b.size(0) != weight.experts() || lora.a.size(2) != weight.in_features() ||
        lora.b.size(1) != weight.out_features() || lora.a.size(1) != lora.b.size(2)) {
      fail("A [E, r, in] and B [E, out, r] are expected");
    }
  }
}

}  // namespace

at::Tensor experts_linear(const at::Tensor& x, const SharedRows& rows, bool by_token, const ExpertsWeight& weight,
                          std::span<const ExpertsLora> adapters) {
  check(x, rows, by_token, weight, adapters);
  if (!use_fused(x)) return composite::experts_linear(x, rows, by_token, weight, adapters);
  const auto settings = std::make_shared<Settings>();
  settings->rows = rows, settings->weight = weight;
  settings->gathers = by_token;
  settings->token = from_host<std::int64_t>(rows->token, {rows->count()});
  std::vector<at::Tensor> inputs{x.contiguous()};
  if (weight.trains()) inputs.insert(inputs.end(), weight.leaves().begin(), weight.leaves().end());
  if (settings->trains_bias()) inputs.push_back(weight.bias());
  for (const ExpertsLora& lora : adapters) {
    settings->scales.push_back(lora.scale);
    inputs.push_back(lora.a);
    inputs.push_back(lora.b);
  }
  std::vector<at::Tensor> t;
  const bool record = at::GradMode::is_enabled() &&
                      std::any_of(inputs.begin(), inputs.end(), [](const at::Tensor& i) { return i.requires_grad(); });
  if (!record) {
    const at::NoGradGuard no_grad;
    return forward_pass(inputs[0], *settings, factors(*settings, inputs, product_dtype(x.scalar_type())), t);
  }
  return differentiable(inputs, [&]() -> ForwardPass {
    const std::vector<Factors> adapted = factors(*settings, inputs, product_dtype(x.scalar_type()));
    ForwardPass pass{forward_pass(inputs[0], *settings, adapted, t), inputs, {}};
    for (std::size_t i = 1; i < settings->bias(); ++i) pass.saved[i] = at::Tensor();  // the settings hold the leaves
    const bool needs_x =
        weight.trains() || std::any_of(adapted.begin(), adapted.end(), [](const Factors& lora) { return lora.trains; });
    if (!needs_x) pass.saved[0] = at::Tensor();
    for (std::size_t i = 0; i < t.size(); ++i) pass.saved.push_back(adapted[i].trains ? t[i] : at::Tensor());
    pass.backward = [settings](const BackwardPass& back) { return gradients_of(*settings, back); };
    return pass;
  });
}

}  // namespace lowrank::kernels
