#include "lowrank/kernels/row_losses.h"

#include <ATen/ops/cross_entropy_loss.h>

#include "lowrank/core/error.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

namespace {

at::Tensor labels_of(std::int64_t rows, std::int64_t classes) {
  const at::Tensor labels = torch::randint(classes, {rows}, at::kLong);
  return torch::where(torch::rand({rows}) < 0.3, torch::full({rows}, -100, at::kLong), labels);
}

Op op_of(const at::Tensor& labels, double smoothing) {
  return [labels, smoothing](const Tensors& t) { return k::row_losses(t[0], labels, smoothing); };
}

}  // namespace

TEST_CASE("row_losses are torch's cross-entropies, and the twin's, with their gradients", "[unit]") {
  torch::manual_seed(51);
  for (const double smoothing : {0.0, 0.2}) {
    for (const std::int64_t rows : {1, 40, 129}) {
      const at::Tensor labels = labels_of(rows, 37);
      labels[0] = 5;
      const Tensors inputs{random({rows, 37}, at::kDouble, 3)};
      const Op op = op_of(labels, smoothing);
      const Tensors found = run(op, inputs, {true}),
                    expected = run(
                        [&](const Tensors&t) {
                          return at::cross_entropy_loss(t[0], labels, {}, at::Reduction::None, -100, smoothing);
                        },
                        inputs, {true});
      CHECK(distance(found[0], expected[0]) < 1e-12);
      CHECK(distance(found[1], expected[1]) < 1e-12);
      require_twins(op, inputs, {true}, 1e-11);
      require_twins(op, to(inputs, at::kFloat), {true}, 1e-5);
      require_finite_differences(op, inputs, {true});
      require_thread_independence(op, to(inputs, at::kFloat), {true});
    }
  }
}

TEST_CASE("row_losses of bf16 logits are fp32, and a label that is none is named", "[unit]") {
  torch::manual_seed(52);
  const at::Tensor labels = labels_of(20, 9), logits = random({20, 9}, at::kBFloat16, 3);
  const Tensors found = run(op_of(labels, 0.1), {logits}, {true});
  CHECK(found[0].scalar_type() == at::kFloat);
  CHECK(found[1].scalar_type() == at::kBFloat16);
  CHECK(distance(found[0], run(op_of(labels, 0.1), {logits.to(at::kDouble)}, {true})[0]) < 1e-5);
  CHECK(equal_bytes(k::row_log_softmax(logits), logits.log_softmax(1, at::kFloat)));
  CHECK_THROWS_AS(k::row_losses(random({2, 3}), torch::tensor({1, 3}, at::kLong)), lowrank::InternalError);
}
