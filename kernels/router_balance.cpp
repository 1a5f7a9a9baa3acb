#include "lowrank/kernels/router_balance.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/router.h"

namespace lowrank::kernels {

namespace {

// f(logits [E] in double, row) of each row, on the host and in order: a few numbers beside what a layer computes.
template <typename F>
void for_rows(const at::Tensor& logits, const F& f) {
  const std::vector<double> values = to_host<double>(logits);
  const auto experts = static_cast<std::size_t>(logits.size(1));
  std::vector<double> row(experts);
  for (std::size_t i = 0; i < values.size(); i += experts) {
    double most = values[i], sum = 0;
    for (std::size_t e = 1; e < experts; ++e) most = std::max(most, values[i + e]);
    for (std::size_t e = 0; e < experts; ++e) sum += row[e] = std::exp(values[i + e] - most);
    for (double& p : row) p /= sum;
    f(row, i);
  }
}

}  // namespace

double RouterBalance::loss() const {
  if (rows_ == 0) return 0;
  double sum = 0;
  for (std::size_t e = 0; e < taken_.size(); ++e) sum += taken_[e] * probability_[e];
  return static_cast<double>(taken_.size()) * sum / (static_cast<double>(rows_) * static_cast<double>(rows_));
}

at::Tensor balanced(const at::Tensor& logits, std::int64_t per_token, const std::shared_ptr<RouterBalance>& balance) {
  const at::Tensor z = logits.contiguous();
  if (!balance->closed_) {
    const auto experts = static_cast<std::size_t>(z.size(1));
    balance->taken_.resize(experts);
    balance->probability_.resize(experts);
    const at::NoGradGuard no_grad;
    const Routed routed = route(z.detach(), per_token, Router::kSoftmax);
    for (const std::int64_t e : to_host<std::int64_t>(routed.experts))
      balance->taken_[static_cast<std::size_t>(e)] += 1;
    for_rows(z, [&](const std::vector<double>& p, std::size_t) {
      for (std::size_t e = 0; e < p.size(); ++e) balance->probability_[e] += p[e];
    });
    balance->rows_ += z.size(0);
  }
  if (!records(z)) return z;
  return differentiable({z}, [&]() -> ForwardPass {
    // d/dz of weight · E Σ f P over R rows: p (c − Σ c p) with c = weight · E f / R.
    return {z.clone(), {z}, [balance](const BackwardPass& pass) {
              const at::Tensor& at = pass.saved[0];
              const auto rows = static_cast<double>(balance->rows_);
              std::vector<double> c(balance->taken_), gradient(static_cast<std::size_t>(at.numel()));
              for (double& x : c) x *= balance->weight_ * static_cast<double>(c.size()) / (rows * rows);
              for_rows(at, [&](const std::vector<double>& p, std::size_t first) {
                double mean = 0;
                for (std::size_t e = 0; e < p.size(); ++e) mean += c[e] * p[e];
                for (std::size_t e = 0; e < p.size(); ++e) gradient[first + e] = p[e] * (c[e] - mean);
              });
              const at::Tensor own = from_host<double>(gradient, at.sizes(), at.device());
              return std::vector<at::Tensor>{pass.gradient.to(at::kDouble).add(own).to(at.scalar_type())};
            }};
  });
}

}  // namespace lowrank::kernels
