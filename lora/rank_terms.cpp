#include "lowrank/lora/rank_terms.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/rows.h"
#include "lowrank/lora/match.h"
#include "lowrank/lora/peft_names.h"

namespace lowrank::lora {
namespace {

constexpr double kDamping = 0.1;
constexpr double kLeastEigenvalue = 1e-30;  // of a layer that the loss does not depend on
constexpr double kRounding = 0x1p-23;       // fp32's

struct Decomposition {
  at::Tensor u, s, vt;
};

// Of the product b [out, r] a [r, in].
Decomposition decompose(const at::Tensor& b, const at::Tensor& a) {
  const auto [qb, rb] = kernels::aten::linalg_qr(b);
  const auto [qa, ra] = kernels::aten::linalg_qr(a.t());
  const auto [u, s, vt] = kernels::aten::linalg_svd(rb.matmul(ra.t()));
  return {qb.matmul(u), s, vt.matmul(qa.t())};
}

at::Tensor on_host(const at::Tensor& tensor) { return tensor.detach().to(at::kCPU, at::kDouble); }

RankTerms terms_of(const LinearSlotImpl& slot, const LoraMatrices& lora) {
  const LoraMatrices whole = plain(lora);
  const at::Tensor a = on_host(whole.a), b = on_host(whole.b);
  const Decomposition found = decompose(b.mul(whole.scale), a);
  const std::vector<double> s = kernels::to_host<double>(found.s);
  std::size_t count = 1;
  while (count < s.size() && s[count] > kRounding * s[0]) ++count;
  const auto k = static_cast<std::int64_t>(count);
  return {slot.path(),
          found.u.narrow(1, 0, k).contiguous(),
          found.s.narrow(0, 0, k).contiguous(),
          found.vt.narrow(0, 0, k).contiguous(),
          whole.scale,
          whole.magnitude,
          whole.r};
}

struct Roots {
  at::Tensor root, inverse;
};

// X^½ and X^-½ of X with damping.
Roots roots(const at::Tensor& moments) {
  const std::int64_t k = moments.size(0);
  const double damping = std::max(kDamping * moments.trace().item<double>() / static_cast<double>(k), kLeastEigenvalue);
  const at::Tensor damped =
      moments.add(moments.t()).mul(0.5).add(kernels::aten::eye(k, moments.options()).mul(damping));
  const auto [values, vectors] = kernels::aten::linalg_eigh(damped);
  const at::Tensor root = values.clamp_min(damping).sqrt();
  return {vectors.mul(root).matmul(vectors.t()), vectors.div(root).matmul(vectors.t())};
}

// A copy of `from` in `to`, which may be a leaf that requires grad.
void write(const at::Tensor& to, const at::Tensor& from) { to.detach().copy_(from); }

}  // namespace

double RankTerms::size(std::int64_t i) const { return sizes.select(0, i).item<double>(); }

std::vector<RankTerms> rank_terms(const Adapter& adapter) {
  if (!adapter.experts().empty())
    throw ConfigError(
        fmt::format("{} is adapted, and the ranks of experts, which are of one size, cannot be chosen one by one",
                    adapter.experts().front()->path()));
  const at::NoGradGuard no_grad;
  std::vector<RankTerms> all(adapter.slots().size());
  kernels::for_row_chunks(static_cast<std::int64_t>(all.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
      all[i] = terms_of(*adapter.slots()[i], adapter.at(adapter.slots()[i]));
  });
  return all;
}

RankTerms weighted(const RankTerms& terms, const Curvature& curvature) {
  const at::NoGradGuard no_grad;
  RankTerms result = terms;
  kernels::for_row_chunks(1, 1, [&](std::int64_t, std::int64_t) {
    const Roots l = roots(curvature.left), r = roots(curvature.right);
    const auto [p, t, qt] = kernels::aten::linalg_svd(l.root.mul(terms.sizes).matmul(r.root));
    result.left = terms.left.matmul(l.inverse.matmul(p)).contiguous();
    result.sizes = t.contiguous();
    result.right = qt.matmul(r.inverse).matmul(terms.right).contiguous();
  });
  return result;
}

Adapter attach_terms(const SlotTable& table, const LoraConfig& like, const std::vector<RankTerms>& terms,
                     const std::vector<std::int64_t>& ranks, const std::string& name) {
  LoraConfig config = like;
  config.init_lora_weights = "default";
  config.use_rslora = false;
  config.rank_pattern.clear();
  config.alpha_pattern.clear();
  std::vector<std::string> kept;
  std::vector<std::size_t> places;
  config.r = 0;
  for (std::size_t i = 0; i < terms.size(); ++i) {
    if (ranks[i] == 0 && terms[i].magnitude.defined())
      throw ConfigError(
          fmt::format("{} has a magnitude (DoRA), which acts without A and B too; its rank can't be 0", terms[i].path));
    if (ranks[i] == 0) continue;
    kept.push_back(terms[i].path);
    places.push_back(i);
    if (ranks[i] > config.r) {
      config.r = ranks[i];
      config.lora_alpha = terms[i].scale * static_cast<double>(ranks[i]);
    }
  }
  if (kept.empty()) throw ConfigError("no layer keeps a rank above 0, so that there is no adapter left");
  for (const std::size_t i : places) {
    const double alpha = terms[i].scale * static_cast<double>(ranks[i]);
    if (ranks[i] != config.r) config.rank_pattern.emplace_back(terms[i].path, ranks[i]);
    if (alpha != config.lora_alpha) config.alpha_pattern.emplace_back(terms[i].path, alpha);
  }
  config.target_modules = last_segments(kept);
  std::erase_if(config.target_parameters, [](const std::string& entry) { return entry.ends_with(".weight"); });  // of layers: among these now
  config.exclude_modules = std::vector<std::string>{};
  config.layers_to_transform.reset();
  config.layers_pattern.clear();
  if (match(config, slot_paths(table), table.head).modules != kept) config.target_modules = kept;

  Adapter adapter = attach(table, config, /*seed=*/0, name);
  const at::NoGradGuard no_grad;
  kernels::for_row_chunks(static_cast<std::int64_t>(places.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      const RankTerms& from = terms[places[i]];
      const std::int64_t r = ranks[places[i]];
      const Decomposition found =
          decompose(from.left.narrow(1, 0, r).mul(from.sizes.narrow(0, 0, r)), from.right.narrow(0, 0, r));
      const at::Tensor root = found.s.div(from.scale).sqrt();
      const LoraMatrices& lora = adapter.at(adapter.slots()[i]);
      write(lora.a, found.vt.mul(root.unsqueeze(1)));
      write(lora.b, found.u.mul(root));
      if (lora.magnitude.defined()) write(lora.magnitude, from.magnitude.detach());
    }
  });
  return adapter;
}

}  // namespace lowrank::lora
