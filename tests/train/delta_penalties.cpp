// The penalties on ΔW against LibTorch's autograd on the ΔW that they never form, and against finite differences.
#include "lowrank/train/delta_penalties.h"

#include <torch/types.h>
#include <torch/utils.h>

#include "catch.h"
#include "lowrank/core/random.h"

using namespace lowrank;

namespace {

at::Tensor normal(std::vector<std::int64_t> shape, std::uint64_t place, double scale) {
  const core::RandomStream random(11, "penalties");
  at::Tensor t = torch::empty(shape);
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    t.data_ptr<float>()[i] = static_cast<float>(scale * random.normal(place, static_cast<std::uint64_t>(i)));
  }
  return t.set_requires_grad(true);
}

/// Layers of unlike shapes, ranks and scales, gradients there and zero.
std::vector<lora::Factors> layers() {
  std::vector<lora::Factors> all = {{"wide", normal({3, 41}, 1, 0.4), normal({17, 3}, 2, 0.3), 2.0},
                                    {"tall", normal({5, 9}, 3, 0.5), normal({70, 5}, 4, 0.6), 0.5},
                                    {"one", normal({1, 6}, 5, 1), normal({4, 1}, 6, 1), -1.5}};
  for (const auto& layer : all) {
    layer.a.mutable_grad() = torch::zeros_like(layer.a);
    layer.b.mutable_grad() = torch::zeros_like(layer.b);
  }
  return all;
}

/// The same penalties in plain fp64 on a ΔW that is formed.
at::Tensor plain(const at::Tensor& a, const at::Tensor& b, double scale, const train::DeltaPenalties& p) {
  const at::Tensor delta = scale * b.matmul(a);
  const at::Tensor one = torch::eye(a.size(0), at::kDouble);
  return p.l1 * delta.abs().sum() + p.l2 / 2 * delta.square().sum() +
         p.orthogonality * ((a.matmul(a.t()) - one).square().sum() + (b.t().matmul(b) - one).square().sum());
}

const std::vector<train::DeltaPenalties>& penalties() {
  static const std::vector<train::DeltaPenalties> all = {{0.3, 0, 0}, {0, 0.7, 0}, {0, 0, 0.2}, {0.1, 0.2, 0.3}};
  return all;
}

std::vector<at::Tensor> gradients_of(const std::vector<lora::Factors>& all) {
  std::vector<at::Tensor> gradients;
  for (const auto& layer : all) {
    gradients.push_back(layer.a.grad().clone());
    gradients.push_back(layer.b.grad().clone());
  }
  return gradients;
}

}  // namespace

TEST_CASE("penalties on the update have the values and gradients of autograd on the formed update", "[unit]") {
  for (std::size_t v = 0; v < penalties().size(); ++v) {
    const std::vector<lora::Factors> all = layers();
    double expected = 0;
    std::vector<at::Tensor> gradients;
    for (const auto& layer : all) {
      at::Tensor a = layer.a.detach().to(at::kDouble).set_requires_grad(true);
      at::Tensor b = layer.b.detach().to(at::kDouble).set_requires_grad(true);
      const at::Tensor value = plain(a, b, layer.scale, penalties()[v]);
      value.backward();
      expected += value.item<double>();
      gradients.push_back(a.grad());
      gradients.push_back(b.grad());
    }
    INFO("variant " << v);
    CHECK(train::add_delta_penalties(all, penalties()[v]) == Approx(expected).epsilon(1e-12));
    const auto found = gradients_of(all);
    for (std::size_t i = 0; i < found.size(); ++i) {
      INFO("tensor " << i);
      const double largest = gradients[i].abs().max().item<double>();
      CHECK(largest > 0);
      CHECK((found[i].to(at::kDouble) - gradients[i]).abs().max().item<double>() <= 1e-6 * largest);
    }
  }
}

TEST_CASE("penalties on the update have the gradients of finite differences", "[unit]") {
  for (std::size_t v = 0; v < penalties().size(); ++v) {
    const std::vector<lora::Factors> all = layers();
    train::add_delta_penalties(all, penalties()[v]);
    const auto gradients = gradients_of(all);
    const double h = 1e-6;
    for (std::size_t l = 0; l < all.size(); ++l) {
      for (const bool second : {false, true}) {
        const at::Tensor a = all[l].a.detach().to(at::kDouble), b = all[l].b.detach().to(at::kDouble);
        const at::Tensor& moved = second ? b : a;
        double* const x = moved.data_ptr<double>();
        for (const std::int64_t i : {std::int64_t{0}, moved.numel() - 1}) {
          const double kept = x[i];
          const auto value_at = [&](double value) {
            x[i] = value;
            const double penalty = plain(a, b, all[l].scale, penalties()[v]).item<double>();
            x[i] = kept;
            return penalty;
          };
          const double numeric = (value_at(kept + h) - value_at(kept - h)) / (2 * h);
          const double exact = gradients[2 * l + (second ? 1 : 0)].flatten()[i].item<double>();
          INFO("variant " << v << " layer " << l << " B " << second << " place " << i);
          CHECK(numeric == Approx(exact).epsilon(1e-5).margin(1e-6));
        }
      }
    }
  }
}

TEST_CASE("penalties add to the gradients that are there, and are nothing where B is zero", "[unit]") {
  const std::vector<lora::Factors> all = layers();
  for (const auto& layer : all) {
    layer.a.mutable_grad().fill_(2);
    layer.b.mutable_grad().fill_(3);
    const at::NoGradGuard no_grad;
    layer.b.detach().zero_();
  }
  CHECK(train::add_delta_penalties(all, {1, 1, 0}) == 0);
  for (const auto& layer : all) {
    CHECK(layer.a.grad().eq(2).all().item<bool>());
    CHECK(layer.b.grad().eq(3).all().item<bool>());
  }
}

TEST_CASE("penalties, norms and caps have the same bytes with 1, 2 and 3 threads", "[unit]") {
  const int before = at::get_num_threads();
  std::vector<double> values;
  std::vector<std::vector<at::Tensor>> results;
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    const std::vector<lora::Factors> all = layers();
    values.push_back(train::add_delta_penalties(all, {0.1, 0.2, 0.3}));
    train::cap_delta_norms(all, 0.7);
    results.push_back(gradients_of(all));
    for (const auto& layer : all)
      results.back().push_back(torch::cat({layer.a.detach().flatten(), layer.b.detach().flatten()}));
  }
  at::set_num_threads(before);
  for (std::size_t i = 1; i < results.size(); ++i) {
    CHECK(values[i] == values[0]);
    for (std::size_t t = 0; t < results[0].size(); ++t) CHECK(torch::equal(results[i][t], results[0][t]));
  }
}

TEST_CASE("the norm of the update is that of the formed one, and the cap scales both factors alike", "[unit]") {
  const std::vector<lora::Factors> all = layers();
  for (std::size_t l = 0; l < all.size(); ++l) {
    const lora::Factors& layer = all[l];
    const at::Tensor a = layer.a.detach().clone(), b = layer.b.detach().clone();
    const auto formed = [&] {
      return (layer.scale * layer.b.detach().to(at::kDouble).matmul(layer.a.detach().to(at::kDouble)))
          .norm()
          .item<double>();
    };
    const double norm = lora::delta_norm(layer);
    INFO(layer.path);
    CHECK(norm == Approx(formed()).epsilon(1e-12));
    train::cap_delta_norms({layer}, 1.01 * norm);  // not reached: not a byte changes
    CHECK(torch::equal(layer.a.detach(), a));
    CHECK(torch::equal(layer.b.detach(), b));
    train::cap_delta_norms({layer}, 0.3 * norm);
    CHECK(formed() == Approx(0.3 * norm).epsilon(1e-6));
    CHECK(torch::allclose(layer.a.detach(), a * std::sqrt(0.3), 1e-6, 0));
    CHECK(torch::allclose(layer.b.detach(), b * std::sqrt(0.3), 1e-6, 0));
  }
}
