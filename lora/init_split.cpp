// Beginnings that are a part of the base's weight.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/random.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/rows.h"
#include "lowrank/lora/init.h"

namespace lowrank::lora {
namespace {

struct Decomposition {
  at::Tensor u, s, vt;  // [out, r], [r], [r, in]
};

Decomposition greatest_terms(const at::Tensor& weight, std::int64_t r) {
  const auto [u, s, vt] = kernels::aten::linalg_svd(weight);
  return {u.narrow(1, 0, r), s.narrow(0, 0, r), vt.narrow(0, 0, r)};
}

// Halko, Martinsson & Tropp 2011, algorithm 4.4 with 5.1.
Decomposition randomised_terms(const at::Tensor& weight, std::int64_t r, int iterations, const std::string& name,
                               std::uint64_t seed) {
  constexpr std::int64_t kOversampling = 8;
  const std::int64_t in = weight.size(1), columns = std::min({r + kOversampling, weight.size(0), in});
  const core::RandomStream stream(seed, "lora_init:" + name);
  std::vector<double> values(static_cast<std::size_t>(in * columns));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = stream.normal(i);
  const at::Tensor start = kernels::from_host<double>(values, {in, columns});
  const auto basis = [](const at::Tensor& x) { return kernels::aten::linalg_qr(x).first; };
  at::Tensor q = basis(weight.matmul(start.to(weight.scalar_type())));
  for (int i = 0; i < iterations; ++i) q = basis(weight.matmul(basis(weight.t().matmul(q))));
  const Decomposition small = greatest_terms(q.t().matmul(weight), r);
  return {q.matmul(small.u), small.s, small.vt};
}

void check_rank(const kernels::BaseWeight& base, const std::string& name, std::int64_t r, const std::string& init) {
  const std::int64_t out = base.out_features(), in = base.in_features(), most = std::min(out, in);
  if (r > most)
    throw ConfigError(
        fmt::format("{}: its weight is [{}, {}], so the initialisation '{}' has at most rank {}, not {}; give a "
                    "lower rank, or one of its own by a rank pattern",
                    name, out, in, init, most, r));
}

}  // namespace

LoraMatrices loftq_from(const kernels::BaseWeight& base, const std::string& name, std::int64_t r, double scale) {
  check_rank(base, name, r, "loftq");
  LoraMatrices result;
  kernels::for_row_chunks(1, 1, [&](std::int64_t, std::int64_t) {
    const at::Tensor lost =
        base.original().to(at::kFloat).sub(base.rows(0, base.out_features(), at::kFloat).to(at::kCPU));
    const Decomposition terms = greatest_terms(lost, r);
    const at::Tensor root = terms.s.div(scale).sqrt();
    result.a = terms.vt.mul(root.unsqueeze(1)).contiguous();
    result.b = terms.u.mul(root).contiguous();
  });
  result.a = result.a.to(base.device());
  result.b = result.b.to(base.device());
  result.r = r;
  result.scale = scale;
  return result;
}

LoraMatrices split_from(const kernels::BaseWeight& base, const std::string& name, std::int64_t r, double scale,
                        const std::string& init, std::uint64_t seed) {
  check_rank(base, name, r, init);
  const std::int64_t out = base.out_features();
  LoraMatrices result;
  kernels::for_row_chunks(1, 1, [&](std::int64_t, std::int64_t) {
    const at::ScalarType dtype = base.dtype() == at::kDouble ? at::kDouble : at::kFloat;
    const at::Tensor wide = base.rows(0, out, dtype).to(at::kCPU);
    if (init == "olora") {
      // The first r columns of Q and rows of R depend on the first r columns of W alone.
      result.b0 = kernels::aten::linalg_qr(wide.narrow(1, 0, r)).first.contiguous();
      result.a0 = result.b0.t().matmul(wide).contiguous();
      return;
    }
    constexpr std::size_t kFast = sizeof("pissa_niter_") - 1;
    const Decomposition terms = init == "pissa" ? greatest_terms(wide, r)
                                                : randomised_terms(wide, r, std::stoi(init.substr(kFast)), name, seed);
    const at::Tensor root = terms.s.div(scale).sqrt();
    result.a0 = terms.vt.mul(root.unsqueeze(1)).contiguous();
    result.b0 = terms.u.mul(root).contiguous();
  });
  result.a0 = result.a0.to(base.device());
  result.b0 = result.b0.to(base.device());
  result.a = result.a0.clone();
  result.b = result.b0.clone();
  result.r = r;
  result.scale = scale;
  return result;
}

}  // namespace lowrank::lora
