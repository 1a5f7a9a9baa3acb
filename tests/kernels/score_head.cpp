// The score head's numbers and gradients against autograd in fp64, its twins, and for any number of threads.
#include "lowrank/kernels/score_head.h"

#include <ATen/Parallel.h>

#include <cstring>

#include "support.h"

using namespace lowrank;
using kernel_test::random;

TEST_CASE("scores and their gradients are autograd's in fp64, fused and composite", "[unit]") {
  torch::manual_seed(6);
  for (const std::int64_t heads : {1, 3}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const at::Tensor x = random({29, 67}, dtype), weight = random({heads, 67});
      const at::Tensor wide_x = x.to(at::kDouble).set_requires_grad(true),
                       wide_w = weight.to(at::kDouble).set_requires_grad(true);
      const at::Tensor expected = wide_x.matmul(wide_w.t()), slopes = random({29, heads}, at::kDouble);
      expected.backward(slopes);
      const std::vector<double> by(slopes.const_data_ptr<double>(), slopes.const_data_ptr<double>() + slopes.numel());
      for (const kernels::Mode mode : {kernels::Mode::kFused, kernels::Mode::kComposite}) {
        const kernels::ModeGuard guard(mode);
        const std::vector<double> found = kernels::score_rows(x, weight);
        REQUIRE(found.size() == by.size());
        for (std::size_t i = 0; i < found.size(); ++i) {
          CHECK(found[i] ==
                Approx(expected.detach().flatten()[static_cast<std::int64_t>(i)].item<double>()).epsilon(1e-12));
        }
        const at::Tensor rows = kernels::score_gradient_by_rows(weight, by),
                         columns = kernels::score_gradient_by_weight(x, by);
        CHECK(rows.scalar_type() == at::kFloat);
        CHECK(kernel_test::distance(rows, wide_x.grad()) <= 1e-7);
        CHECK(kernel_test::distance(columns, wide_w.grad()) <= 1e-7);
      }
    }
  }
}

TEST_CASE("the score head has the same bytes for any number of threads", "[unit]") {
  torch::manual_seed(7);
  const at::Tensor x = random({301, 131}), weight = random({2, 131});
  const std::vector<double> slopes(602, 0.37);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const std::vector<double> scores = kernels::score_rows(x, weight);
  const at::Tensor rows = kernels::score_gradient_by_rows(weight, slopes),
                   columns = kernels::score_gradient_by_weight(x, slopes);
  at::set_num_threads(3);
  CHECK(kernels::score_rows(x, weight) == scores);
  CHECK(torch::equal(kernels::score_gradient_by_rows(weight, slopes), rows));
  CHECK(torch::equal(kernels::score_gradient_by_weight(x, slopes), columns));
  at::set_num_threads(threads);
}
