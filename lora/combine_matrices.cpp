#include "lowrank/lora/combine_matrices.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/host.h"

namespace lowrank::lora {
namespace {

// The share of the values that are largest by magnitude; the others zero.
at::Tensor largest(const at::Tensor& tensor, double density) {
  const auto k = static_cast<std::int64_t>(density * static_cast<double>(tensor.numel()));
  const at::Tensor flat = tensor.reshape({-1});
  const at::Tensor places = std::get<1>(flat.abs().topk(k, 0, /*largest=*/true));
  return flat.mul(kernels::aten::zeros(flat.sizes(), flat.options()).index_fill(0, places, 1)).view(tensor.sizes());
}

// Each value with this probability, made larger for those that go.
at::Tensor by_chance(const at::Tensor& tensor, double density, const at::Generator& generator) {
  const at::Tensor mask = kernels::aten::zeros(tensor.sizes(), tensor.options()).fill_(density).bernoulli(generator);
  return tensor.mul(mask).div(density);
}

// The mean over those whose sign is the elected one.
at::Tensor of_elected_sign(const at::Tensor& stacked, const at::Tensor& weighted, bool by_frequency) {
  const at::Tensor sign = stacked.sign();
  const at::Tensor elected = (by_frequency ? sign : stacked).sum(0).ge(0).to(stacked.scalar_type()).mul(2).sub(1);
  const at::Tensor mask = sign.eq(elected).to(stacked.scalar_type());
  return weighted.mul(mask).sum(0).div(mask.sum(0).clamp_min(1));
}

at::Tensor filled_rows(const at::Tensor& matrix, std::int64_t rows) {
  if (matrix.size(0) == rows) return matrix;
  return kernels::aten::cat({matrix, kernels::aten::zeros({rows - matrix.size(0), matrix.size(1)}, matrix.options())});
}

LoraMatrices of_rank(const at::Tensor& a, const at::Tensor& b, std::int64_t r) {
  LoraMatrices result;
  result.a = filled_rows(a, r);
  result.b = filled_rows(b.t(), r).t();
  result.r = r;
  return result;
}

// Σ wᵢ sᵢ Bᵢ Aᵢ as one product.
std::pair<at::Tensor, at::Tensor> stacked(const std::vector<LoraMatrices>& parts, const std::vector<double>& weights) {
  std::vector<at::Tensor> a, b;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    a.push_back(parts[i].a.detach().mul(weights[i] * parts[i].scale));
    b.push_back(parts[i].b.detach());
  }
  return {kernels::aten::cat(a, 0), kernels::aten::cat(b, 1)};
}

// The best approximation of B A of rank r, without the product: B = Q R, Aᵀ = Q' R', and the SVD of R R'ᵀ.
LoraMatrices truncated(const at::Tensor& a, const at::Tensor& b, std::int64_t r) {
  const auto [qb, rb] = kernels::aten::linalg_qr(b.to(at::kDouble));
  const auto [qa, ra] = kernels::aten::linalg_qr(a.t().to(at::kDouble));
  const auto [u, s, vh] = kernels::aten::linalg_svd(rb.mm(ra.t()));
  const std::int64_t k = std::min(r, s.size(0));
  const at::Tensor left = qb.mm(u.narrow(1, 0, k)).mul(s.narrow(0, 0, k));
  return of_rank(vh.narrow(0, 0, k).mm(qa.t()).to(a.scalar_type()), left.to(b.scalar_type()), r);
}

LoraMatrices truncated(const at::Tensor& delta, std::int64_t r) {
  const auto [u, s, vh] = kernels::aten::linalg_svd(delta);
  const std::int64_t k = std::min(r, s.size(0));
  return of_rank(vh.narrow(0, 0, k), u.narrow(1, 0, k).mul(s.narrow(0, 0, k)), r);
}

}  // namespace

at::Tensor combine_tensors(const std::string& method, const std::vector<at::Tensor>& tensors,
                           const std::vector<double>& weights, double density, bool sign_by_frequency,
                           const at::Generator& generator) {
  std::vector<at::Tensor> pruned;
  for (const at::Tensor& tensor : tensors) {
    const bool all = method == "linear" || density >= 1;
    const at::Tensor kept = all                           ? tensor
                            : method.starts_with("dare") ? by_chance(tensor, density, generator)
                                                         : largest(tensor, density);
    pruned.push_back(kept.unsqueeze(0));
  }
  const at::Tensor together = kernels::aten::cat(pruned);
  const std::vector<float> single(weights.begin(), weights.end());
  std::vector<std::int64_t> shape(static_cast<std::size_t>(together.dim()), 1);
  shape[0] = together.size(0);
  const at::Tensor weighted = together.mul(kernels::from_host<float>(single, shape, together.device()));
  return method.ends_with("ties") ? of_elected_sign(together, weighted, sign_by_frequency) : weighted.sum(0);
}

LoraMatrices combine_matrices(const std::string& path, bool turned, const std::vector<LoraMatrices>& parts,
                              const std::vector<double>& weights, std::int64_t r, const CombineOptions& options,
                              const at::Generator& generator) {
  const std::string& method = options.method;
  if (method == "cat" || method == "svd") {
    const auto [a, b] = stacked(parts, weights);
    return method == "cat" ? of_rank(a, b, r) : truncated(a, b, r);
  }
  const double density = options.density.value_or(1);
  const auto together = [&](const std::string& how, const std::vector<at::Tensor>& tensors,
                            const std::vector<double>& of_each) {
    return combine_tensors(how, tensors, of_each, density, options.sign_by_frequency, generator);
  };
  std::vector<at::Tensor> a, b;
  if (method.ends_with("_svd")) {
    for (const LoraMatrices& one : parts) {
      const at::Tensor delta = one.b.detach().mm(one.a.detach()).mul(one.scale);
      a.push_back(turned ? delta.t().contiguous() : delta);
    }
    const at::Tensor sum = together(method.substr(0, method.size() - 4), a, weights);
    return truncated(turned ? sum.t() : sum, r);
  }
  std::vector<double> of_a, of_b;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].r != parts.front().r)
      throw ConfigError(fmt::format("{} takes A and B by themselves, and {} has the ranks {} and {}; cat and svd take any",
                                    method, path, parts.front().r, parts[i].r));
    const double weight = weights[i] * parts[i].scale;
    of_a.push_back(std::copysign(std::sqrt(std::abs(weight)), weight));
    of_b.push_back(std::sqrt(std::abs(weight)));
    a.push_back(parts[i].a.detach());
    b.push_back(parts[i].b.detach());
  }
  const at::Tensor sum = together(method, a, of_a);
  return of_rank(sum, together(method, b, of_b), r);
}

}  // namespace lowrank::lora
