#include "lowrank/core/random.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <numeric>
#include <utility>

#include "lowrank/core/beside.h"
#include "lowrank/core/error.h"

namespace lowrank::core {

namespace {

std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3u;
  }
  return hash;
}

std::uint32_t low(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
std::uint32_t high(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }
std::uint64_t join(std::uint32_t lo, std::uint32_t hi) { return (std::uint64_t{hi} << 32) | lo; }

template <std::size_t n>
struct Counters {
  std::array<std::uint32_t, n> c0, c1, c2, c3;
};

/// Philox of n counters in step, which a compiler makes vectors of.
template <std::size_t n>
void ten_rounds(Counters<n>& c, std::array<std::uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c.c0[i];
      const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c.c2[i];
      c.c0[i] = high(p1) ^ c.c1[i] ^ k[0];
      c.c1[i] = low(p1);
      c.c2[i] = high(p0) ^ c.c3[i] ^ k[1];
      c.c3[i] = low(p0);
    }
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
}

double to_unit(std::uint32_t a, std::uint32_t b) {
  return static_cast<double>((std::uint64_t{a >> 5} << 26) | (b >> 6)) * 0x1p-53;
}

}  // namespace

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> c, std::array<std::uint32_t, 2> k) {
  Counters<1> one{{c[0]}, {c[1]}, {c[2]}, {c[3]}};
  ten_rounds(one, k);
  return {one.c0[0], one.c1[0], one.c2[0], one.c3[0]};
}

// The key is itself a Philox output, so that close seeds and close names give unrelated streams.
RandomStream::RandomStream(std::uint64_t seed, std::string_view name) {
  const std::uint64_t hash = fnv1a(name);
  const auto words = philox({low(hash), high(hash), 0, 0}, {low(seed), high(seed)});
  key_ = {words[0], words[1]};
}

std::array<std::uint32_t, 4> RandomStream::words(std::uint64_t a, std::uint64_t b) const {
  return philox({low(a), high(a), low(b), high(b)}, key_);
}

double RandomStream::uniform(std::uint64_t a, std::uint64_t b) const {
  const auto w = words(a, b);
  return to_unit(w[0], w[1]);
}

std::uint64_t RandomStream::below(std::uint64_t n, std::uint64_t a, std::uint64_t b) const {
  if (n == 0) throw InternalError("RandomStream::below: the range is empty (n = 0)");
  // 2^64 mod n values, fewer than n, would make the low results likelier; a draw among them is thrown away, and the next
  // one at the same place is taken under another key.
  for (std::uint32_t attempt = 0;; ++attempt) {
    const auto w = philox({low(a), high(a), low(b), high(b)}, {key_[0], key_[1] + attempt});
    for (const std::uint64_t draw : {join(w[0], w[1]), join(w[2], w[3])}) {
      if (draw >= n || draw >= (0 - n) % n) return draw % n;
    }
  }
}

double RandomStream::normal(std::uint64_t a, std::uint64_t b) const {
  const auto w = words(a, b);
  const double radius = std::sqrt(-2.0 * std::log(1.0 - to_unit(w[0], w[1])));  // 1 - u lies in (0, 1]
  return radius * std::cos(2.0 * std::numbers::pi * to_unit(w[2], w[3]));
}

namespace {

constexpr std::uint32_t kAtOnce = 64;
constexpr std::uint32_t kAhead = 32;  // swaps

/// The first draws of below() at places a, a − 1, ... under b.
std::array<std::uint64_t, kAtOnce> first_draws(std::array<std::uint32_t, 2> key, std::uint64_t a, std::uint64_t b) {
  Counters<kAtOnce> c;
  for (std::uint32_t i = 0; i < kAtOnce; ++i) c.c0[i] = low(a - i), c.c1[i] = high(a - i), c.c2[i] = low(b), c.c3[i] = high(b);
  ten_rounds(c, key);
  std::array<std::uint64_t, kAtOnce> draws;
  for (std::uint32_t i = 0; i < kAtOnce; ++i) draws[i] = join(c.c0[i], c.c1[i]);
  return draws;
}

}  // namespace

void RandomStream::draw_places(std::uint32_t i, std::uint32_t count, std::uint64_t round, std::uint32_t* places) const {
  while (count > 0) {
    const std::uint32_t some = std::min(count, kAtOnce);
    const auto draws = first_draws(key_, i, round);
    for (std::uint32_t k = 0; k < some; ++k) {
      const std::uint64_t range = i - k;
      // A draw below the range may have to be thrown away: below() sees to it.
      places[k] = static_cast<std::uint32_t>(draws[k] >= range ? draws[k] % range : below(range, range, round));
    }
    places += some;
    i -= some;
    count -= some;
  }
}

std::vector<std::uint32_t> RandomStream::permutation(std::uint32_t n, std::uint64_t round, int threads) const {
  std::vector<std::uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0u);
  // Of millions half of the draws are another thread's.
  const std::uint32_t middle = threads > 1 && n >= kMillions ? n / 2 : 1;
  const auto later = std::make_unique_for_overwrite<std::uint32_t[]>(middle - 1);
  Beside drawn(middle > 1 ? threads : 1, [&] { draw_places(middle, middle - 1, round, later.get()); });
  // Draws before swaps, some at a time: the places to swap with are far apart in memory.
  std::array<std::uint32_t, kAtOnce> places;
  for (std::uint32_t i = n; i > middle;) {
    const std::uint32_t some = std::min<std::uint32_t>(i - middle, kAtOnce);
    draw_places(i, some, round, places.data());
    for (std::uint32_t k = 0; k < some; ++k) __builtin_prefetch(&order[places[k]], 1);
    for (std::uint32_t k = 0; k < some; ++k) std::swap(order[i - k - 1], order[places[k]]);
    i -= some;
  }
  drawn.wait();
  for (std::uint32_t k = 0; k + 1 < middle; ++k) {
    if (k + kAhead + 1 < middle) __builtin_prefetch(&order[later[k + kAhead]], 1);
    std::swap(order[middle - k - 1], order[later[k]]);
  }
  return order;
}

}  // namespace lowrank::core
