#include "lowrank/train/flat_parameters.h"

#include <torch/nn/utils/clip_grad.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/train/gradients.h"
#include "lowrank/train/penalties.h"
#include "message.h"

using namespace lowrank;
using lowrank_test::contains;
using lowrank_test::message_of;

namespace {

std::vector<lora::NamedTensor> some_parameters() {
  torch::manual_seed(3);
  return {{"a", torch::randn({3, 5}).set_requires_grad(true)}, {"b", torch::randn({7}).set_requires_grad(true)}};
}

}  // namespace

TEST_CASE("parameters become views of one buffer, and backward adds into the other", "[unit]") {
  auto named = some_parameters();
  const at::Tensor a_before = named[0].tensor.detach().clone();
  train::FlatParameters flat(named);
  CHECK(flat.size() == 22);
  CHECK(torch::equal(named[0].tensor, a_before));
  CHECK(torch::equal(flat.values().narrow(0, 0, 15).view({3, 5}), a_before));

  for (int round = 1; round <= 2; ++round) {
    (named[0].tensor.square().sum() + 2 * named[1].tensor.sum()).backward();
    CHECK(torch::allclose(flat.gradients().narrow(0, 0, 15).view({3, 5}), 2 * round * a_before));
    CHECK(torch::equal(flat.gradients().narrow(0, 15, 7), torch::full({7}, 2.0F * static_cast<float>(round))));
    flat.check_aliasing();
  }
  flat.zero_gradients();
  CHECK(flat.gradients().abs().max().item<float>() == 0);
  flat.values().fill_(3);
  CHECK(named[1].tensor[0].item<float>() == 3);
}

TEST_CASE("a parameter that left its buffer is an internal error", "[unit]") {
  auto named = some_parameters();
  train::FlatParameters flat(named);
  named[1].tensor.mutable_grad() = torch::zeros({7});
  CHECK(contains(message_of<InternalError>([&] { flat.check_aliasing(); }), "the gradient of b"));
  named[0].tensor.set_data(torch::zeros({3, 5}));
  CHECK(contains(message_of<InternalError>([&] { flat.check_aliasing(); }), "a is no longer"));
  CHECK_THROWS_AS(train::FlatParameters({{"half", torch::zeros({2}, torch::kBFloat16)}}), InternalError);
  CHECK_THROWS_AS(train::FlatParameters({}), ConfigError);
}

TEST_CASE("the gradient's norm is torch's, whatever the number of threads", "[unit]") {
  torch::manual_seed(1);
  at::Tensor p = torch::zeros({100003}).set_requires_grad(true);
  train::FlatParameters flat({{"p", p}});
  flat.gradients().copy_(torch::randn({100003}));
  const double norm = flat.gradient_norm();
  CHECK(norm == Approx(flat.gradients().to(torch::kDouble).norm().item<double>()).epsilon(1e-12));
  const int threads = at::get_num_threads();
  for (const int n : {1, 2, 3}) {
    at::set_num_threads(n);
    CHECK(flat.gradient_norm() == norm);
  }
  at::set_num_threads(threads);
}

TEST_CASE("a value that is not finite is seen wherever it stands", "[unit]") {
  at::Tensor p = torch::zeros({40000});
  train::FlatParameters flat({{"p", p}});
  CHECK(flat.finite());
  for (const std::int64_t place : {0, 16384, 39999}) {
    for (const float bad : {INFINITY, -INFINITY, NAN}) {
      flat.values()[place] = bad;
      CHECK_FALSE(flat.finite());
      flat.values()[place] = 0;
    }
  }
  flat.values().fill_(3e38F);
  CHECK(flat.finite());
}

TEST_CASE("clipping is torch.nn.utils.clip_grad_norm_", "[unit]") {
  for (const double max_norm : {0.5, 1.0, 1000.0}) {
    torch::manual_seed(2);
    at::Tensor p = torch::zeros({1000}).set_requires_grad(true);
    train::FlatParameters flat({{"p", p}});
    flat.gradients().copy_(torch::randn({1000}));
    at::Tensor q = torch::zeros({1000}).set_requires_grad(true);
    q.mutable_grad() = flat.gradients().clone();
    const double norm = torch::nn::utils::clip_grad_norm_({q}, max_norm);
    CHECK(flat.gradient_norm() == Approx(norm).epsilon(1e-6));
    train::clip_gradients(flat.gradients(), flat.gradient_norm(), max_norm);
    CHECK(torch::allclose(flat.gradients(), q.grad(), 1e-6, 0));
  }
  at::Tensor g = torch::full({4}, 100.0);
  train::clip_gradients(g, 200, 0);
  CHECK(torch::equal(g, torch::full({4}, 100.0)));
}

TEST_CASE("penalties: value, gradient, and exact zeros by the proximal step", "[unit]") {
  at::Tensor p = torch::tensor({-3.0F, -0.1F, 0.0F, 0.2F, 2.0F});
  CHECK(train::penalty_value(p, 0.5, 0) == Approx(0.5 * 5.3).epsilon(1e-6));
  CHECK(train::penalty_value(p, 0, 0.5) == Approx(0.25 * 13.05).epsilon(1e-6));
  at::Tensor g = torch::ones({5});
  train::add_l2_gradient(g, p, 0.5);
  CHECK(torch::allclose(g, 1 + 0.5 * p));
  train::shrink(p, 0.25);
  CHECK(torch::equal(p, torch::tensor({-2.75F, 0.0F, 0.0F, 0.0F, 1.75F})));
  CHECK(train::share_of_zeros(p) == Approx(0.6));
}
