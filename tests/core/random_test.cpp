#include "lowrank/core/random.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>

#include "core/expect_error.h"

using lowrank::core::philox;
using lowrank::core::RandomStream;
using Words = std::array<std::uint32_t, 4>;

TEST_CASE("philox equals the known answers of Random123", "[unit]") {
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a stream depends on seed, name and place alone", "[unit]") {
  const RandomStream a(42, "dropout");
  CHECK(a.words(1, 2) == RandomStream(42, "dropout").words(1, 2));
  CHECK(a.words(1, 2) != a.words(2, 1));
  CHECK(a.words(1, 2) != a.words(1, std::uint64_t{2} << 32));
  CHECK(a.key() != RandomStream(43, "dropout").key());
  CHECK(a.key() != RandomStream(42, "dropouts").key());
  // Checkpoints rely on these numbers staying the same in all later versions. (Worked out apart, in Python.)
  CHECK(a.key() == std::array<std::uint32_t, 2>{0xf894c263, 0xab2566f5});
  CHECK(RandomStream(42, "order").permutation(8, 1) == std::vector<std::uint32_t>{0, 5, 7, 3, 4, 2, 1, 6});
  CHECK(RandomStream(42, "order").uniform(3, 4) == 0.4152082922211523);
}

TEST_CASE("uniform, below and normal have the right moments", "[unit]") {
  const RandomStream stream(7, "moments");
  constexpr int n = 200'000;
  double sum = 0, normal_sum = 0, normal_squares = 0;
  std::array<int, 7> counts{};
  for (std::uint64_t i = 0; i < n; ++i) {
    const double u = stream.uniform(i);
    REQUIRE(u >= 0);
    REQUIRE(u < 1);
    sum += u;
    ++counts.at(stream.below(7, i, 1));
    const double z = stream.normal(i, 2);
    REQUIRE(std::isfinite(z));
    normal_sum += z;
    normal_squares += z * z;
  }
  // Five standard errors each.
  CHECK(std::abs(sum / n - 0.5) < 5 * std::sqrt(1.0 / 12 / n));
  CHECK(std::abs(normal_sum / n) < 5 / std::sqrt(1.0 * n));
  CHECK(std::abs(normal_squares / n - 1) < 5 * std::sqrt(2.0 / n));
  for (const int count : counts) CHECK(std::abs(count - n / 7.0) < 5 * std::sqrt(n / 7.0));
}

TEST_CASE("below is right at the ends of its range", "[unit]") {
  const RandomStream stream(7, "below");
  CHECK(stream.below(1, 5) == 0);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    // 2^63 + 1: nearly half of all draws are rejected, so this walks through the further attempts.
    CHECK(stream.below((std::uint64_t{1} << 63) + 1, i) <= std::uint64_t{1} << 63);
  }
  CHECK_ERROR(stream.below(0, 0), kInternal, "the range is empty");
}

TEST_CASE("a permutation holds every index once and every round has its own", "[unit]") {
  const RandomStream stream(42, "order");
  CHECK(stream.permutation(0, 0).empty());
  CHECK(stream.permutation(1, 0) == std::vector<std::uint32_t>{0});
  const auto first = stream.permutation(1000, 0);
  CHECK(first == stream.permutation(1000, 0));
  CHECK(first != stream.permutation(1000, 1));
  for (const std::uint32_t n : {1000u, (1u << 20) - 1, 1u << 20, 1'500'001u}) {
    const auto alone = stream.permutation(n, 3);
    CHECK(alone == stream.permutation(n, 3, 2));
    // Fisher-Yates from the end, one draw after the other.
    std::vector<std::uint32_t> plain(n);
    std::iota(plain.begin(), plain.end(), 0u);
    for (std::uint32_t i = n; i > 1; --i) std::swap(plain[i - 1], plain[stream.below(i, i, 3)]);
    CHECK(alone == plain);
  }
  std::vector<std::uint32_t> plain(1000);  // as it is defined
  std::iota(plain.begin(), plain.end(), 0u);
  for (std::uint32_t i = 1000; i > 1; --i) std::swap(plain[i - 1], plain[stream.below(i, i, 0)]);
  CHECK(first == plain);
  auto sorted = first;
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::uint32_t> all(1000);
  std::iota(all.begin(), all.end(), 0u);
  CHECK(sorted == all);
  // Each of the 6 orders of 3 about equally often.
  std::map<std::vector<std::uint32_t>, int> seen;
  for (std::uint64_t round = 0; round < 12'000; ++round) ++seen[stream.permutation(3, round)];
  CHECK(seen.size() == 6);
  for (const auto& [order, count] : seen) CHECK(std::abs(count - 2000) < 5 * std::sqrt(2000.0));
}
