#include "lowrank/kernels/convolution.h"

#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

namespace {

Op convolution(const k::ConvShape& shape) {
  return [shape](const Tensors& t) { return k::convolution(t[0], t[1], t[2], shape); };
}

struct Convolution {
  k::ConvShape shape;
  std::vector<std::int64_t> x, weight;
};

const std::vector<Convolution> convolutions = {
    {{{1}, {1}, {0, 0}}, {3, 4, 9}, {5, 4, 3}},
    {{{2}, {3}, {2, 1}, "constant", 2}, {2, 4, 14}, {6, 2, 3}},
    {{{2, 1}, {1, 2}, {1, 1, 2, 0}, "constant", 2}, {37, 4, 7, 8}, {6, 2, 3, 2}},
    {{{1, 1}, {1, 1}, {1, 1, 1, 1}, "reflect"}, {2, 3, 5, 6}, {4, 3, 3, 3}},
    {{{1, 2}, {1, 1}, {1, 2, 0, 1}, "replicate"}, {2, 3, 5, 6}, {4, 3, 2, 3}},
    {{{1, 1}, {1, 1}, {2, 1, 1, 0}, "circular"}, {2, 3, 5, 6}, {4, 3, 3, 3}},
};

Tensors inputs_of(const Convolution& c) {
  return {random(c.x, at::kDouble), random(c.weight, at::kDouble, 0.5), random({c.weight[0]}, at::kDouble)};
}

}  // namespace

TEST_CASE("convolutions equal their twins, with the gradients of finite differences", "[unit]") {
  for (const Convolution& c : convolutions) {
    INFO(c.x << " " << c.weight << " " << c.shape.padding_mode);
    require_twins(convolution(c.shape), inputs_of(c), {true, true, true}, 1e-11);
    require_twins(convolution(c.shape), to(inputs_of(c), at::kFloat), {true, true, true}, 1e-5);
  }
  require_finite_differences(convolution(convolutions[1].shape), inputs_of(convolutions[1]), {true, true, true});
  require_thread_independence(convolution(convolutions[2].shape), to(inputs_of(convolutions[2]), at::kFloat), {true, true, true});
}
