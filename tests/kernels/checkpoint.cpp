#include "lowrank/kernels/checkpoint.h"

#include "lowrank/core/error.h"
#include "lowrank/kernels/lora_linear.h"
#include "lowrank/kernels/ops.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

namespace {

// Two blocks of norm, adapted linear with dropout and residual, and a nonlinearity.
struct Network {
  at::Tensor norm = random({24}), weight = random({24, 24}, at::kFloat, 0.2);
  std::vector<at::Tensor> a, b;
  std::vector<std::int64_t> tokens;

  explicit Network(std::int64_t rows) {
    for (int i = 0; i < 2; ++i) {
      a.push_back(random({3, 24}).requires_grad_(true));
      b.push_back(random({24, 3}).requires_grad_(true));
    }
    for (std::int64_t i = 0; i < rows; ++i) tokens.push_back(i);
  }

  at::Tensor block(std::size_t i, const at::Tensor& x) const {
    k::DropoutContext context;
    context.step = 4;
    context.token_in_step = tokens.data();
    k::LoraOperand lora;
    lora.a = a[i];
    lora.b = b[i];
    lora.dropout = 0.3;
    lora.dropout_key = {9, static_cast<std::uint32_t>(i)};
    const at::Tensor y =
        k::lora_linear(k::rms_norm(x, norm, 1e-5), k::BaseWeight::dense(weight), {&lora, 1}, &context);
    return x + k::swiglu(y, x);
  }

  Tensors gradients(const at::Tensor& x, bool recompute) {
    for (auto* list : {&a, &b}) {
      for (at::Tensor& p : *list) p.mutable_grad() = at::Tensor();
    }
    at::Tensor h = x.detach().clone().requires_grad_(true);
    const at::Tensor leaf = h;
    for (std::size_t i = 0; i < 2; ++i) {
      h = recompute ? k::checkpoint([this, i](const at::Tensor& t) { return block(i, t); }, h) : block(i, h);
    }
    (h * h).sum().backward();
    return {h.detach(), leaf.grad(), a[0].grad(), b[0].grad(), a[1].grad(), b[1].grad()};
  }
};

}  // namespace

TEST_CASE("checkpoint gives the plain path's bytes, with dropout", "[unit]") {
  torch::manual_seed(14);
  Network network(37);
  const at::Tensor x = random({37, 24});
  const Tensors plain = network.gradients(x, false), again = network.gradients(x, true);
  for (std::size_t i = 0; i < plain.size(); ++i) {
    INFO("tensor " << i);
    CHECK(equal_bytes(again[i], plain[i]));
  }
}

TEST_CASE("checkpoint refuses an input that would lose gradients, and is nothing without recording", "[unit]") {
  const auto square = [](const at::Tensor& t) { return t * t; };
  const at::Tensor x = random({3, 4});
  CHECK_THROWS_AS(k::checkpoint(square, x), lowrank::InternalError);
  const at::NoGradGuard no_grad;
  CHECK(torch::equal(k::checkpoint(square, x), x * x));
}

TEST_CASE("a checkpointed body is released with the graph, also when backward is never called", "[unit]") {
  const auto held = std::make_shared<int>(0);
  {
    const at::Tensor x = random({3, 4}).requires_grad_(true);
    const at::Tensor y = k::checkpoint([held](const at::Tensor& t) { return t * 2; }, x);
    CHECK(held.use_count() > 1);
  }
  CHECK(held.use_count() == 1);
}
