// Cross-entropy of classes against LibTorch's own, values and gradients, and for any number of threads.
#include "lowrank/kernels/class_loss.h"

#include <ATen/Parallel.h>
#include <torch/nn/functional/loss.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstring>

#include "catch.h"
#include "lowrank/core/error.h"

using lowrank::kernels::class_loss;
using lowrank::kernels::ClassLoss;

TEST_CASE("class_loss is torch's cross-entropy with its gradient", "[parity]") {
  torch::manual_seed(2);
  std::vector<std::int64_t> labels(37);
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<std::int64_t>(i * 5 % 11);
  for (const double smoothing : {0.0, 0.2}) {
    at::Tensor logits = torch::randn({37, 11}).mul(8).set_requires_grad(true);
    namespace F = torch::nn::functional;
    const at::Tensor expected =
        F::cross_entropy(logits.to(at::kDouble), torch::tensor(labels),
                         F::CrossEntropyFuncOptions().reduction(torch::kNone).label_smoothing(smoothing));
    expected.sum().backward();
    const ClassLoss found = class_loss(logits, labels, smoothing);
    for (std::size_t i = 0; i < labels.size(); ++i) {
      CHECK(found.losses[i] ==
            Approx(expected[static_cast<std::int64_t>(i)].item<double>()).epsilon(1e-9).margin(1e-9));
      CHECK(found.predicted[i] == logits[static_cast<std::int64_t>(i)].argmax().item<std::int64_t>());
    }
    CHECK((found.gradient - logits.grad()).abs().max().item<double>() < 1e-6);
  }
}

TEST_CASE("class_loss equals its twin in fp32 and fp64, and names a label that is no class", "[unit]") {
  torch::manual_seed(8);
  std::vector<std::int64_t> labels(37);
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<std::int64_t>(i * 5 % 11);
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    for (const double smoothing : {0.0, 0.2}) {
      const at::Tensor logits = torch::randn({37, 11}, at::kDouble).mul(8).to(dtype);
      const ClassLoss found = class_loss(logits, labels, smoothing);
      const ClassLoss twin = lowrank::kernels::composite::class_loss(logits, labels, smoothing);
      CHECK(found.predicted == twin.predicted);
      for (std::size_t i = 0; i < labels.size(); ++i)
        CHECK(found.losses[i] == Approx(twin.losses[i]).epsilon(1e-12).margin(1e-12));
      CHECK(found.gradient.scalar_type() == dtype);
      CHECK(twin.gradient.scalar_type() == dtype);
      CHECK((found.gradient - twin.gradient).abs().max().item<double>() < (dtype == at::kFloat ? 1e-6 : 1e-13));
    }
  }
  labels[3] = 11;
  CHECK_THROWS_AS(class_loss(torch::randn({37, 11}), labels), lowrank::InternalError);
}

TEST_CASE("class_loss does not depend on the number of threads", "[unit]") {
  const int threads = at::get_num_threads();
  torch::manual_seed(3);
  const at::Tensor logits = torch::randn({301, 7});
  const std::vector<std::int64_t> labels(301, 3);
  at::set_num_threads(1);
  const ClassLoss one = class_loss(logits, labels, 0.1);
  at::set_num_threads(3);
  const ClassLoss three = class_loss(logits, labels, 0.1);
  at::set_num_threads(threads);
  CHECK(one.losses == three.losses);
  CHECK(std::memcmp(one.gradient.const_data_ptr(), three.gradient.const_data_ptr(), one.gradient.nbytes()) == 0);
}
