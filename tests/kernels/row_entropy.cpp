// Entropies of rows of logits against the twin in fp64, at the ends of their range, and for any number of threads.
#include "lowrank/kernels/row_entropy.h"

#include <ATen/Parallel.h>

#include "support.h"

using namespace lowrank;
using kernel_test::random;

TEST_CASE("row_entropies is its twin's", "[unit]") {
  torch::manual_seed(8);
  for (const std::int64_t width : {1, 2, 97, 5003}) {
    for (const double scale : {0.1, 3.0, 30.0}) {
      const at::Tensor logits = random({23, width}, at::kFloat, scale);
      const std::vector<double> found = kernels::row_entropies(logits),
                                expected = kernels::composite::row_entropies(logits);
      for (std::size_t i = 0; i < found.size(); ++i) {
        INFO("width " << width << " scale " << scale << " row " << i);
        CHECK(found[i] == Approx(expected[i]).epsilon(1e-5).margin(3e-5));
      }
    }
  }
  CHECK(kernels::row_entropies(torch::zeros({1, 1000}))[0] == Approx(std::log(1000.0)).epsilon(1e-6));
  CHECK(kernels::row_entropies(torch::tensor({{0.0F, 300.0F}}))[0] == Approx(0).margin(1e-6));
}

TEST_CASE("row_entropies has the same bytes for any number of threads", "[unit]") {
  torch::manual_seed(9);
  const at::Tensor logits = random({301, 131});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const std::vector<double> one = kernels::row_entropies(logits);
  at::set_num_threads(3);
  CHECK(kernels::row_entropies(logits) == one);
  at::set_num_threads(threads);
}
