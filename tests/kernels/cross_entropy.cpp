#include "lowrank/core/error.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/smoothed_cross_entropy.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

namespace {

at::Tensor labels_of(std::int64_t tokens, std::int64_t vocabulary, double masked) {
  at::Tensor labels = torch::randint(vocabulary, {tokens}, at::kLong);
  return torch::where(torch::rand({tokens}) < masked, torch::full({tokens}, -100, at::kLong), labels);
}

Op op_of(const at::Tensor& labels) {
  return [labels](const Tensors& t) { return k::linear_cross_entropy(t[0], k::BaseWeight::dense(t[1]), labels); };
}

Op smoothed(const at::Tensor& labels, double smoothing) {
  return [labels, smoothing](const Tensors& t) {
    return k::smoothed_cross_entropy(t[0], k::BaseWeight::dense(t[1]), labels, smoothing);
  };
}

}  // namespace

TEST_CASE("linear_cross_entropy equals its twin, with a frozen and a trainable head", "[unit]") {
  torch::manual_seed(9);
  for (const std::int64_t tokens : {1, 37, 300}) {
    for (const double masked : {0.0, 0.4}) {
      const at::Tensor labels = labels_of(tokens, 131, masked);
      const Tensors inputs{random({tokens, 33}, at::kDouble), random({131, 33}, at::kDouble, 0.5)};
      for (const bool weight : {false, true}) {
        INFO(tokens << " tokens, masked " << masked << ", trainable head " << weight);
        require_twins(op_of(labels), inputs, {true, weight}, 1e-11);
        require_twins(op_of(labels), to(inputs, at::kFloat), {true, weight}, 1e-5);
      }
    }
  }
}

// Logits of a few units carry errors of 2^-8 of themselves into the loss.
TEST_CASE("linear_cross_entropy in bf16 is within 2 % of its fp64 twin", "[unit]") {
  torch::manual_seed(10);
  const at::Tensor labels = labels_of(150, 300, 0.3);
  const Tensors inputs{random({150, 64}, at::kBFloat16), random({300, 64}, at::kBFloat16, 0.2)};
  for (const k::GemmPath path : {k::GemmPath::kPlain, k::GemmPath::kOwn, k::GemmPath::kNativeBf16}) {
    for (const bool weight : {false, true}) {
      INFO(k::name(path) << ", trainable head " << weight);
      const k::RuntimeScope scope({.gemm = path});
      const Tensors half = run(op_of(labels), inputs, {true, weight});
      CHECK(half[0].scalar_type() == at::kFloat);
      const k::RuntimeScope composite({.mode = k::Mode::kComposite});
      const Tensors exact = run(op_of(labels), to(inputs, at::kDouble), {true, weight});
      for (std::size_t i = 0; i < half.size(); ++i) {
        if (half[i].defined()) CHECK(distance(half[i], exact[i]) <= 0.02);
      }
    }
  }
}

TEST_CASE("linear_cross_entropy's gradients are those of finite differences", "[unit]") {
  torch::manual_seed(11);
  const at::Tensor labels = labels_of(6, 11, 0.3);
  const Tensors inputs{random({6, 5}, at::kDouble), random({11, 5}, at::kDouble)};
  require_finite_differences(op_of(labels), inputs, {true, false});
  require_finite_differences(op_of(labels), inputs, {true, true});
}

TEST_CASE("with label smoothing, losses and gradients are those of torch's cross_entropy_loss, and of the twin",
          "[unit]") {
  torch::manual_seed(14);
  for (const double smoothing : {0.05, 0.3}) {
    const at::Tensor labels = labels_of(40, 131, 0.4);
    const Tensors inputs{random({40, 33}, at::kDouble), random({131, 33}, at::kDouble, 0.5)};
    const Op reference = [&](const Tensors& t) {
      return at::cross_entropy_loss(at::linear(t[0], t[1]), labels, {}, at::Reduction::None, -100, smoothing);
    };
    for (const bool weight : {false, true}) {
      INFO("smoothing " << smoothing << ", trainable head " << weight);
      const Tensors expected = run(reference, inputs, {true, weight});
      const Tensors found = run(smoothed(labels, smoothing), inputs, {true, weight});
      for (std::size_t i = 0; i < found.size(); ++i) {
        REQUIRE(found[i].defined() == expected[i].defined());
        if (found[i].defined()) CHECK(distance(found[i], expected[i]) <= 1e-12);
      }
      require_twins(smoothed(labels, smoothing), inputs, {true, weight}, 1e-11);
      require_twins(smoothed(labels, smoothing), to(inputs, at::kFloat), {true, weight}, 1e-5);
      require_finite_differences(smoothed(labels, smoothing), inputs, {true, weight});
      require_thread_independence(smoothed(labels, smoothing), to(inputs, at::kFloat), {true, weight});
    }
  }
}

TEST_CASE("linear_cross_entropy over several chunks of rows equals its fp64 twin", "[unit]") {
  torch::manual_seed(12);
  const std::int64_t vocabulary = 70000;  // chunks of 192 rows
  const at::Tensor labels = labels_of(300, vocabulary, 0.05);
  const Tensors inputs{random({300, 16}), random({vocabulary, 16}, at::kFloat, 0.5)};
  for (const bool weight : {false, true}) {
    const Tensors found = run(op_of(labels), inputs, {true, weight});
    const k::RuntimeScope composite({.mode = k::Mode::kComposite});
    const Tensors exact = run(op_of(labels), to(inputs, at::kDouble), {true, weight});
    const Tensors twin = run(op_of(labels), inputs, {true, weight});
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (found[i].defined()) {
        // A gradient sums 70,000 probabilities in fp32; that rounding is the type's, and the twin shows how much it is.
        const double rounding = distance(twin[i], exact[i]);
        UNSCOPED_INFO("tensor " << i << ", the fp32 twin is off by " << rounding);
        CHECK(distance(found[i], exact[i]) <= std::max(1e-5, 1.2 * rounding));
      }
    }
  }
}

TEST_CASE("without labels the losses and gradients are zero", "[unit]") {
  const at::Tensor labels = torch::full({5}, -100, at::kLong);
  for (const bool weight : {false, true}) {
    const Tensors found = run(op_of(labels), {random({5, 3}), random({7, 3})}, {true, weight});
    for (const auto& t : found) {
      if (t.defined()) CHECK(t.abs().max().item<float>() == 0);
    }
    CHECK(found[1].defined());
  }
  CHECK(k::linear_cross_entropy(random({0, 3}), k::BaseWeight::dense(random({7, 3})), torch::empty({0}, at::kLong))
            .numel() == 0);
}

TEST_CASE("a NaN in the hidden state reaches the loss", "[unit]") {
  at::Tensor hidden = random({3, 4});
  hidden[1][2] = NAN;
  const at::Tensor losses =
      k::linear_cross_entropy(hidden, k::BaseWeight::dense(random({9, 4})), torch::tensor({1, 2, 3}, at::kLong));
  CHECK(std::isfinite(losses[0].item<float>()));
  CHECK(std::isnan(losses[1].item<float>()));
}

TEST_CASE("a label outside the vocabulary is named", "[unit]") {
  CHECK_THROWS_AS(
      k::linear_cross_entropy(random({2, 3}), k::BaseWeight::dense(random({7, 3})), torch::tensor({1, 7}, at::kLong)),
      lowrank::InternalError);
}

TEST_CASE("linear_cross_entropy's bytes do not depend on the number of threads", "[unit]") {
  torch::manual_seed(13);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const std::int64_t tokens : {1, 37, 301}) {
      const at::Tensor labels = labels_of(tokens, 1031, 0.2);
      const Tensors inputs{random({tokens, 63}, dtype), random({1031, 63}, dtype)};
      require_thread_independence(op_of(labels), inputs, {true, false});
      require_thread_independence(op_of(labels), inputs, {true, true});
    }
  }
}
