// What the kernel tests share: an op with its gradients, its twin, finite differences, equal bytes.
#pragma once

#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "catch.h"
#include "lowrank/kernels/runtime.h"

namespace kernel_test {

using Tensors = std::vector<at::Tensor>;
using Op = std::function<at::Tensor(const Tensors&)>;

inline at::Tensor random(at::IntArrayRef sizes, at::ScalarType dtype = at::kFloat, double scale = 1) {
  return (torch::randn(sizes, at::kDouble) * scale).to(dtype);
}

/// The op's result and the gradients of sum(result · upstream), upstream fixed; an undefined gradient stays so.
inline Tensors run(const Op& op, const Tensors& inputs, const std::vector<bool>& trains) {
  Tensors leaves;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    leaves.push_back(inputs[i].detach().clone());
    if (trains[i]) leaves[i].requires_grad_(true);
  }
  const at::Tensor y = op(leaves);
  Tensors result{y.detach()};
  if (y.requires_grad()) {
    auto generator = at::detail::createCPUGenerator(7);
    const at::Tensor upstream = torch::randn(y.sizes(), generator, at::kDouble).to(y.scalar_type());
    y.backward(upstream);
  }
  for (std::size_t i = 0; i < leaves.size(); ++i) result.push_back(leaves[i].grad());
  return result;
}

/// max|a − b| over max|b|.
inline double distance(const at::Tensor& a, const at::Tensor& b) {
  if (b.numel() == 0) return a.numel() == 0 ? 0 : INFINITY;
  const at::Tensor wide_a = a.to(at::kDouble), wide_b = b.to(at::kDouble);
  const double difference = (wide_a - wide_b).abs().max().item<double>();
  return difference / std::max(wide_b.abs().max().item<double>(), 1e-30);
}

/// Fused and composite agree in result and gradients: max|Δ| ≤ bound · max|·| per tensor; where the twin's is zero
/// throughout (the gradient of a softmax over one key), bound times the largest of all gradients.
inline void require_twins(const Op& op, const Tensors& inputs, const std::vector<bool>& trains, double bound) {
  using lowrank::kernels::Mode;
  using lowrank::kernels::RuntimeScope;
  const Tensors fused = run(op, inputs, trains);
  const RuntimeScope scope({.mode = Mode::kComposite});
  const Tensors composite = run(op, inputs, trains);
  const auto largest = [](const at::Tensor& t) {
    return t.defined() && t.numel() > 0 ? t.to(at::kDouble).abs().max().item<double>() : 0.0;
  };
  double of_all = 0;
  for (std::size_t i = 1; i < composite.size(); ++i) of_all = std::max(of_all, largest(composite[i]));
  for (std::size_t i = 0; i < fused.size(); ++i) {
    INFO((i == 0 ? std::string("result") : "gradient of input " + std::to_string(i - 1)));
    REQUIRE(fused[i].defined() == composite[i].defined());
    if (!fused[i].defined()) continue;
    REQUIRE(fused[i].sizes() == composite[i].sizes());
    REQUIRE(fused[i].scalar_type() == composite[i].scalar_type());
    if (i > 0 && largest(composite[i]) == 0) {
      CHECK(largest(fused[i]) <= bound * of_all);
    } else {
      CHECK(distance(fused[i], composite[i]) <= bound);
    }
  }
}

inline Tensors to(const Tensors& inputs, at::ScalarType dtype) {
  Tensors result;
  for (const at::Tensor& t : inputs) result.push_back(t.to(dtype));
  return result;
}

/// Analytic gradients against central differences along random directions; fp64 inputs.
inline void require_finite_differences(const Op& op, const Tensors& inputs, const std::vector<bool>& trains) {
  const Tensors analytic = run(op, inputs, trains);
  auto generator = at::detail::createCPUGenerator(7);
  const at::Tensor upstream = torch::randn(analytic[0].sizes(), generator, at::kDouble);
  const double h = 1e-6;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!trains[i]) continue;
    const at::Tensor direction = torch::randn(inputs[i].sizes(), at::kDouble);
    const auto at_offset = [&](double step) {
      Tensors moved = inputs;
      moved[i] = inputs[i] + direction * step;
      const at::NoGradGuard no_grad;
      return (op(moved) * upstream).sum().item<double>();
    };
    const double numeric = (at_offset(h) - at_offset(-h)) / (2 * h);
    const double exact = (analytic[i + 1] * direction).sum().item<double>();
    INFO("input " << i);
    CHECK(std::abs(numeric - exact) <= 1e-6 * std::max(1.0, std::abs(exact)));
  }
}

inline bool equal_bytes(const at::Tensor& a, const at::Tensor& b) {
  if (a.defined() != b.defined()) return false;
  if (!a.defined()) return true;
  const at::Tensor x = a.contiguous(), y = b.contiguous();
  return x.sizes() == y.sizes() && x.scalar_type() == y.scalar_type() &&
         std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

/// Result and gradients have the same bytes with 1, 2 and 3 threads.
inline void require_thread_independence(const Op& op, const Tensors& inputs, const std::vector<bool>& trains) {
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const Tensors expected = run(op, inputs, trains);
  for (const int threads : {2, 3}) {
    at::set_num_threads(threads);
    const Tensors found = run(op, inputs, trains);
    for (std::size_t i = 0; i < found.size(); ++i) {
      INFO(threads << " threads, " << (i == 0 ? std::string("result") : "gradient of input " + std::to_string(i - 1)));
      CHECK(equal_bytes(found[i], expected[i]));
    }
  }
  at::set_num_threads(before);
}

}  // namespace kernel_test
