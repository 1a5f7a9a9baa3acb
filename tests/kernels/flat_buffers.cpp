// Sums and updates of flat buffers against their twins, and for any number of threads.
#include "lowrank/kernels/flat_buffers.h"

#include <ATen/Parallel.h>

#include <cstring>

#include "support.h"

using namespace lowrank;
using kernel_test::random;

namespace {

/// Lengths below, at and beyond a chunk, and odd ones.
const std::vector<std::int64_t> kLengths = {1, 7, 8, 1000, 1 << 14, (1 << 14) + 3, 100003};

at::Tensor with_zeros(std::int64_t n) {
  at::Tensor x = random({n});
  for (std::int64_t i = 0; i < n; i += 5) x[i] = 0;
  return x;
}

bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  return a.numel() == b.numel() && std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

/// The buffers after every update in turn, and the sums.
struct Outcome {
  std::vector<at::Tensor> buffers;
  std::vector<double> sums;
};
Outcome outcome(const at::Tensor& x, const at::Tensor& y) {
  Outcome result;
  at::Tensor a = x.clone(), b = y.clone();
  kernels::add_scaled(a, b, 0.3);
  result.buffers.push_back(a.clone());
  kernels::move_towards(a, b, 0.07);
  result.buffers.push_back(a.clone());
  kernels::exchange(a, b);
  result.buffers.push_back(a.clone());
  result.buffers.push_back(b.clone());
  kernels::shrink(a, {}, 0.4);
  result.buffers.push_back(a.clone());
  kernels::shrink(a, b, 0.2);
  result.buffers.push_back(a.clone());
  result.sums = {kernels::sum_of_squares(x), kernels::sum_of_magnitudes(x),
                 static_cast<double>(kernels::count_of_zeros(x)), kernels::all_finite(x) ? 1.0 : 0.0};
  return result;
}

}  // namespace

TEST_CASE("sums and updates of flat buffers are those of their twins", "[unit]") {
  torch::manual_seed(4);
  for (const std::int64_t n : kLengths) {
    INFO("length " << n);
    const at::Tensor x = with_zeros(n), y = random({n});
    const Outcome fused = outcome(x, y);
    const kernels::ModeGuard guard(kernels::Mode::kComposite);
    const Outcome composite = outcome(x, y);
    for (std::size_t i = 0; i < fused.buffers.size(); ++i) {
      INFO("buffer " << i);
      CHECK((fused.buffers[i] - composite.buffers[i]).abs().max().item<double>() <= 1e-6);
    }
    for (std::size_t i = 0; i < fused.sums.size(); ++i)
      CHECK(fused.sums[i] == Approx(composite.sums[i]).epsilon(1e-12));
    CHECK(fused.sums[2] >= static_cast<double>((n + 4) / 5));
    // What a threshold holds lies exactly on its origin.
    CHECK(fused.buffers[4].eq(0).logical_or(fused.buffers[4].abs().gt(0)).all().item<bool>());
    CHECK(torch::equal(fused.buffers[4].eq(0), fused.buffers[2].abs().le(0.4F)));
    CHECK(torch::equal(fused.buffers[5].eq(fused.buffers[3]), (fused.buffers[4] - fused.buffers[3]).abs().le(0.2F)));
  }
}

TEST_CASE("flat buffers have the same bytes for any number of threads", "[unit]") {
  torch::manual_seed(5);
  const at::Tensor x = with_zeros(100003), y = random({100003});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Outcome one = outcome(x, y);
  for (const int n : {2, 3}) {
    at::set_num_threads(n);
    const Outcome found = outcome(x, y);
    for (std::size_t i = 0; i < one.buffers.size(); ++i) CHECK(same_bytes(found.buffers[i], one.buffers[i]));
    CHECK(found.sums == one.sums);
  }
  at::set_num_threads(threads);
}

TEST_CASE("an element that is not finite is seen wherever it stands, and the greatest number is finite", "[unit]") {
  for (const kernels::Mode mode : {kernels::Mode::kFused, kernels::Mode::kComposite}) {
    const kernels::ModeGuard guard(mode);
    at::Tensor x = torch::full({40000}, 3e38F);
    CHECK(kernels::all_finite(x));
    for (const std::int64_t place : {0, 16384, 39999}) {
      for (const float bad : {INFINITY, -INFINITY, NAN}) {
        x[place] = bad;
        CHECK_FALSE(kernels::all_finite(x));
        x[place] = 0;
      }
    }
  }
}
