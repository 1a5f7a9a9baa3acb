// B·A and its gradients against bmm, and for any number of threads.
#include "lowrank/kernels/low_rank_product.h"

#include <ATen/Parallel.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstring>

#include "support.h"

namespace k = lowrank::kernels;
using lowrank::kernels::low_rank_product;

TEST_CASE("low_rank_product is bmm, with bmm's gradients", "[parity]") {
  torch::manual_seed(4);
  for (const std::int64_t out : {1, 6, 300}) {
    at::Tensor b = torch::randn({2, out, 5}, at::kDouble).set_requires_grad(true);
    at::Tensor a = torch::randn({2, 5, 37}, at::kDouble).set_requires_grad(true);
    const at::Tensor weight = torch::randn({2, out, 37}, at::kDouble);
    const at::Tensor found = low_rank_product(b, a);
    CHECK(torch::allclose(found, torch::bmm(b, a), 0, 1e-12));
    found.mul(weight).sum().backward();
    CHECK(torch::allclose(b.grad(), torch::bmm(weight, a.detach().transpose(1, 2)), 0, 1e-12));
    CHECK(torch::allclose(a.grad(), torch::bmm(b.detach().transpose(1, 2), weight), 0, 1e-12));
  }
}

TEST_CASE("low_rank_product equals its twin", "[unit]") {
  torch::manual_seed(6);
  const kernel_test::Tensors inputs{kernel_test::random({3, 300, 5}, at::kDouble),
                                    kernel_test::random({3, 5, 37}, at::kDouble)};
  const kernel_test::Op op = [](const kernel_test::Tensors& t) { return low_rank_product(t[0], t[1]); };
  kernel_test::require_twins(op, inputs, {true, true}, 1e-11);
  kernel_test::require_twins(op, kernel_test::to(inputs, at::kFloat), {true, true}, 1e-5);
  kernel_test::require_finite_differences(op, inputs, {true, true});
}

TEST_CASE("summed_product gives the bytes of its twin, for any cut and number of threads", "[unit]") {
  torch::manual_seed(7);
  for (const std::int64_t columns : {1, 63, 64, 200}) {
    const at::Tensor b = torch::randn({45, 7}), a = torch::randn({7, columns});
    const at::Tensor whole = k::summed_product(b, a, 1.7);
    CHECK(kernel_test::equal_bytes(whole, k::composite::summed_product(b, a, 1.7)));
    CHECK(kernel_test::distance(whole, b.to(at::kDouble).mm(a.to(at::kDouble)) * 1.7) < 1e-5);
    CHECK(kernel_test::equal_bytes(whole.slice(0, 11, 30), k::summed_product(b.slice(0, 11, 30), a, 1.7)));
    CHECK(kernel_test::equal_bytes(whole.slice(1, columns / 3), k::summed_product(b, a.slice(1, columns / 3), 1.7)));
    kernel_test::require_thread_independence(
        [](const kernel_test::Tensors& t) { return k::summed_product(t[0], t[1], 1.7); }, {b, a}, {false, false});
  }
}

TEST_CASE("low_rank_product does not depend on the number of threads", "[unit]") {
  // Six rows by 36 are products of which MKL's value depends on the threads.
  const int threads = at::get_num_threads();
  torch::manual_seed(5);
  const at::Tensor b = torch::randn({1, 6, 16}), a = torch::randn({1, 16, 36}), g = torch::randn({1, 6, 36});
  std::vector<at::Tensor> first;
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    at::Tensor left = b.clone().set_requires_grad(true), right = a.clone().set_requires_grad(true);
    const at::Tensor found = low_rank_product(left, right);
    found.backward(g);
    const std::vector<at::Tensor> all = {found.detach(), left.grad().contiguous(), right.grad().contiguous()};
    if (first.empty()) first = all;
    for (std::size_t i = 0; i < all.size(); ++i)
      CHECK(std::memcmp(first[i].const_data_ptr(), all[i].const_data_ptr(), first[i].nbytes()) == 0);
  }
  at::set_num_threads(threads);
}
