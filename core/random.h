// Counter-based randomness (Philox4x32-10, Salmon et al. 2011): the number at a place depends on (seed, stream name,
// counters) alone, so it is the same for any thread count, after a restart and in a recomputation.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace lowrank::core {

/// Ten rounds of Philox 4x32. Equal to Random123's known-answer vectors.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// A named stream of a seed. Copyable, stateless: every draw names its place.
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, std::string_view name);
  std::array<std::uint32_t, 2> key() const { return key_; }

  /// Four random words at (a, b); a and b are 64-bit counters.
  std::array<std::uint32_t, 4> words(std::uint64_t a, std::uint64_t b) const;
  /// Uniform in [0, 1) with 53 bits, place (a, b).
  double uniform(std::uint64_t a, std::uint64_t b = 0) const;
  /// Uniform integer in [0, n), unbiased (rejection), place a.
  std::uint64_t below(std::uint64_t n, std::uint64_t a, std::uint64_t b = 0) const;
  /// Standard normal (Box-Muller), place (a, b).
  double normal(std::uint64_t a, std::uint64_t b = 0) const;
  /// A permutation of 0..n-1 (Fisher-Yates), distinct for each `round` (an epoch, say); the same for any number of `threads`, of which
  /// millions take two.
  std::vector<std::uint32_t> permutation(std::uint32_t n, std::uint64_t round, int threads = 1) const;

 private:
  /// The `count` places that i, i - 1, ... are swapped with.
  void draw_places(std::uint32_t i, std::uint32_t count, std::uint64_t round, std::uint32_t* places) const;

  std::array<std::uint32_t, 2> key_;
};

}  // namespace lowrank::core
