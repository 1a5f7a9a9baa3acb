#include "lowrank/kernels/dropout.h"

#include <numeric>

#include "lowrank/core/error.h"
#include "lowrank/core/random.h"
#include "lowrank/kernels/dropout_on_device.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

namespace {

std::vector<std::int64_t> tokens_from(std::int64_t first, std::int64_t n) {
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(n));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

}  // namespace

TEST_CASE("the mask is Philox's, by token, column and step", "[unit]") {
  const auto tokens = tokens_from(5, 3);
  const std::array<std::uint32_t, 2> key{123, 456};
  const std::uint64_t step = (std::uint64_t{7} << 32) + 9;
  const at::Tensor y = k::apply_dropout(torch::ones({3, 133}), 0.25, key, step, tokens.data());
  for (std::int64_t i = 0; i < 3; ++i) {
    for (std::int64_t j = 0; j < 133; ++j) {
      const auto words =
          lowrank::core::philox({static_cast<std::uint32_t>(j / 4), static_cast<std::uint32_t>(5 + i), 9, 7}, key);
      const bool dropped = words[static_cast<std::size_t>(j % 4)] < 0x40000000u;
      REQUIRE(y[i][j].item<float>() == (dropped ? 0.0F : 1.0F / 0.75F));
    }
  }
}

TEST_CASE("what is dropped by LibTorch's integers, as on a device, is the same to the byte", "[unit]") {
  for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {7, 133}, {600, 4096}}) {  // the last in several chunks
    const auto tokens = tokens_from((std::int64_t{1} << 31) - 3, rows);
    for (const double p : {0.25, 1.0}) {
      const k::DropoutPlace place{p, {123, 456}, (std::uint64_t{7} << 32) + 9, tokens.data()};
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        const at::Tensor x = random({rows, columns}).to(dtype);
        CHECK(equal_bytes(k::on_device::dropped(x, place), k::apply_dropout(x, p, place.key, place.step, tokens.data())));
      }
    }
  }
}

TEST_CASE("dropout drops its share and keeps the mean", "[unit]") {
  const auto tokens = tokens_from(0, 500);
  for (const double p : {0.05, 0.5, 0.9}) {
    const at::Tensor y = k::apply_dropout(torch::ones({500, 401}), p, {1, 2}, 3, tokens.data());
    const double dropped = (y == 0).to(at::kDouble).mean().item<double>();
    CHECK(std::abs(dropped - p) < 4 * std::sqrt(p * (1 - p) / (500 * 401)));
    CHECK(std::abs(y.to(at::kDouble).mean().item<double>() - 1) < 0.03);
  }
}

TEST_CASE("dropout depends on its place alone", "[unit]") {
  const auto tokens = tokens_from(0, 40);
  const at::Tensor x = random({40, 63});
  const at::Tensor whole = k::apply_dropout(x, 0.4, {1, 2}, 3, tokens.data());
  CHECK(equal_bytes(whole, k::apply_dropout(x, 0.4, {1, 2}, 3, tokens.data())));
  CHECK(equal_bytes(whole.narrow(0, 13, 9), k::apply_dropout(x.narrow(0, 13, 9), 0.4, {1, 2}, 3, tokens.data() + 13)));
  CHECK_FALSE(torch::equal(whole, k::apply_dropout(x, 0.4, {1, 2}, 4, tokens.data())));
  CHECK_FALSE(torch::equal(whole, k::apply_dropout(x, 0.4, {1, 3}, 3, tokens.data())));
}

TEST_CASE("dropout at its ends, and out of range", "[unit]") {
  const auto tokens = tokens_from(0, 4);
  const at::Tensor x = random({4, 9});
  CHECK(torch::equal(k::apply_dropout(x, 0, {1, 2}, 3, tokens.data()), x));
  CHECK(torch::equal(k::apply_dropout(x, 1, {1, 2}, 3, tokens.data()), torch::zeros({4, 9})));
  CHECK_THROWS_AS(k::apply_dropout(x, 1.5, {1, 2}, 3, tokens.data()), lowrank::InternalError);
  for (const auto dtype : {at::kDouble, at::kBFloat16}) {
    const at::Tensor y = k::apply_dropout(x.to(dtype), 0.5, {1, 2}, 3, tokens.data());
    CHECK(distance(y, k::apply_dropout(x, 0.5, {1, 2}, 3, tokens.data())) < 0.005);
  }
}
