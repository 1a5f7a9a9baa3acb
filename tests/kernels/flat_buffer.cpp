// Flat buffers, ordered products and divergences against their twins.
#include "lowrank/kernels/flat_buffer.h"

#include "lowrank/core/error.h"
#include "lowrank/kernels/divergence.h"
#include "lowrank/kernels/ordered_product.h"
#include "support.h"

using namespace lowrank;
using namespace kernel_test;
using kernels::Mode;
using kernels::RuntimeScope;

namespace {

/// With 1 and 3 threads the same bytes; and the twin's result within `bound` of its largest.
void check_pair(const std::function<at::Tensor()>& op, const std::function<at::Tensor()>& twin, double bound) {
  require_thread_independence([&](const Tensors&) { return op(); }, {}, {});
  const at::Tensor fused = op(), composite = twin();
  REQUIRE(fused.sizes() == composite.sizes());
  REQUIRE(fused.scalar_type() == composite.scalar_type());
  CHECK(distance(fused, composite) <= bound);
}

void check_op(const std::function<at::Tensor()>& op, double bound) {
  const auto twin = [&] {
    const RuntimeScope scope({.mode = Mode::kComposite});
    return op();
  };
  check_pair(op, twin, bound);
}

at::Tensor number(double value) { return torch::full({}, value, at::kDouble); }

}  // namespace

TEST_CASE("sums of a flat buffer are the twins', the same for any number of threads", "[unit]") {
  torch::manual_seed(1);
  for (const std::int64_t n : {1, 7, 8, 13, 1 << 14, 40003}) {
    INFO(n);
    at::Tensor x = random({n});
    x.narrow(0, 0, n / 3).zero_();
    check_pair([&] { return number(kernels::sum_of_squares(x)); },
               [&] { return number(kernels::composite::sum_of_squares(x)); }, 0);
    check_pair([&] { return number(kernels::sum_of_magnitudes(x)); },
               [&] { return number(kernels::composite::sum_of_magnitudes(x)); }, 0);
    check_pair([&] { return number(static_cast<double>(kernels::count_zeros(x))); },
               [&] { return number(static_cast<double>(kernels::composite::count_zeros(x))); }, 0);
    CHECK(kernels::count_zeros(x) == n / 3);
    for (const float broken : {INFINITY, -INFINITY, NAN}) {
      at::Tensor other = x.clone();
      other[n - 1] = broken;
      CHECK(kernels::all_finite(x));
      CHECK(kernels::composite::all_finite(x));
      CHECK_FALSE(kernels::all_finite(other));
      CHECK_FALSE(kernels::composite::all_finite(other));
    }
  }
  CHECK_THROWS_AS(kernels::sum_of_squares(random({4}, at::kDouble)), InternalError);
  CHECK_THROWS_AS(kernels::sum_of_squares(random({4, 4}).t()), InternalError);
}

TEST_CASE("what happens to a flat buffer in place is the twins'", "[unit]") {
  torch::manual_seed(2);
  const at::Tensor x = random({40001}), y = random({40001});
  const auto in_place = [&](const std::function<void(const at::Tensor&)>& f) {
    return [&x, f] {
      const at::Tensor copy = x.clone();
      f(copy);
      return copy;
    };
  };
  check_pair(in_place([&](const at::Tensor& t) { kernels::add_scaled(t, y, 0.3); }),
             in_place([&](const at::Tensor& t) { kernels::composite::add_scaled(t, y, 0.3); }), 1e-7);
  check_pair(in_place([&](const at::Tensor& t) { kernels::approach(t, y, 0.8); }),
             in_place([&](const at::Tensor& t) { kernels::composite::approach(t, y, 0.8); }), 1e-7);
  check_pair(in_place([](const at::Tensor& t) { kernels::soft_threshold(t, 0.5); }),
             in_place([](const at::Tensor& t) { kernels::composite::soft_threshold(t, 0.5); }), 1e-7);
  for (const auto& shrunk : {kernels::soft_threshold, kernels::composite::soft_threshold}) {
    const at::Tensor few = torch::tensor({-2.0F, -0.5F, 0.0F, 0.25F, 1.5F});
    shrunk(few, 0.5);
    CHECK(few.equal(torch::tensor({-1.5F, 0.0F, 0.0F, 0.0F, 1.0F})));
  }
}

TEST_CASE("ordered products are the twin's, for any strides and the longer side either way", "[unit]") {
  torch::manual_seed(3);
  for (const auto& [m, k, n] :
       {std::tuple(40, 33, 2), std::tuple(2, 33, 40), std::tuple(1, 1, 1), std::tuple(3, 0, 5)}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
      INFO(m << " " << k << " " << n << " " << c10::toString(dtype));
      const at::Tensor a = random({m, k}, dtype), b = random({n, k}, dtype).t();
      check_op([&] { return kernels::ordered_product(a, b); }, 1e-14);
      CHECK(distance(kernels::ordered_product(a, b), a.to(at::kDouble).mm(b.to(at::kDouble))) <= 1e-14);
    }
  }
}

TEST_CASE("divergences are the twin's, and tokens that p excludes add nothing", "[unit]") {
  torch::manual_seed(4);
  at::Tensor p = random({35, 50}).log_softmax(1), q = random({35, 50}).log_softmax(1);
  check_op([&] { return kernels::divergences(p, q); }, 1e-14);
  CHECK(kernels::divergences(p, p).abs().max().item<double>() == 0);
  CHECK(kernels::divergences(p, q).min().item<double>() > 0);
  p[3][4] = -INFINITY;
  q[3][4] = -INFINITY;
  check_op([&] { return kernels::divergences(p, q); }, 1e-14);
  CHECK(kernels::divergences(p, q).isfinite().all().item<bool>());
}
