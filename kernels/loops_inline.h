// What the files of inner loops share: clones by instruction set, bf16, exp, lane-wise sums. Included by loops_*.cpp
// and dropout_mask.cpp only, which CMakeLists.txt builds with flags under which these loops vectorise.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "lowrank/kernels/loops.h"

// Under ThreadSanitizer none: the loader asks which clone it takes before that has begun.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__) && !defined(__SANITIZE_THREAD__)
#define LOWRANK_ISA_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LOWRANK_ISA_CLONES
#endif
#define LOWRANK_INLINE __attribute__((always_inline)) inline

namespace lowrank::kernels::loops {

LOWRANK_INLINE float load(float x) { return x; }
LOWRANK_INLINE double load(double x) { return x; }
LOWRANK_INLINE float load(c10::BFloat16 x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.x) << 16); }

LOWRANK_INLINE void store(float& to, float x) { to = x; }
LOWRANK_INLINE void store(double& to, double x) { to = x; }
// Rounds to nearest even; NaN stays NaN.
LOWRANK_INLINE void store(c10::BFloat16& to, float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  to.x = static_cast<std::uint16_t>(x != x ? 0x7FC0u : rounded);
}
/// x as T would keep it. (Not by way of a T: a struct on the stack keeps loops from being vectorised.)
template <typename T>
LOWRANK_INLINE Wide<T> rounded(Wide<T> x) {
  if constexpr (!std::is_same_v<T, c10::BFloat16>) return x;
  const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(x));
  const std::uint32_t kept = (bits + 0x7FFFu + ((bits >> 16) & 1u)) & 0xFFFF0000u;
  return std::bit_cast<float>(x != x ? 0x7FC00000u : kept);
}

/// e^x to 2 ulp without branches, so that loops over it vectorise (Cephes' polynomial; arguments beyond ±88 are
/// clamped).
LOWRANK_INLINE float exponential(float x) {
  constexpr float kMagic = 12582912.0F;  // 1.5 · 2^23: adding it rounds to an integer
  x = x > 88.0F ? 88.0F : x;
  x = x < -87.0F ? -87.0F : x;
  const float shifted = x * 1.44269504088896341F + kMagic;
  const float n = shifted - kMagic;
  float r = x - n * 0.693359375F;
  r = r + n * 2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  const std::uint32_t exponent = (std::bit_cast<std::uint32_t>(shifted) - 0x4B400000u + 127u) << 23;
  return p * std::bit_cast<float>(exponent);
}
LOWRANK_INLINE double exponential(double x) { return std::exp(x); }

template <typename W>
LOWRANK_INLINE W sigmoid(W x) {
  return W{1} / (W{1} + exponential(-x));
}

/// tanh to 2 ulp without branches (Cephes' polynomial near 0; elsewhere from e^2x).
LOWRANK_INLINE float hyperbolic_tangent(float x) {
  const float z = x * x;
  float p = -5.70498872745e-3F;
  p = p * z + 2.06390887954e-2F;
  p = p * z - 5.37397155531e-2F;
  p = p * z + 1.33314422036e-1F;
  p = p * z - 3.33332819422e-1F;
  const float near_zero = p * z * x + x;
  const float far = 1.0F - 2.0F / (exponential(2.0F * x) + 1.0F);
  return z < 0.390625F ? near_zero : far;  // |x| < 0.625
}
LOWRANK_INLINE double hyperbolic_tangent(double x) { return std::tanh(x); }

inline constexpr int kLanes = 16;

/// Sum of f(i) over [0, n): in lanes, so that it vectorises; the order depends on n alone.
template <typename W, typename F>
LOWRANK_INLINE W lane_sum(std::int64_t n, const F& f) {
  W lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) lanes[l] += f(i + l);
  }
  for (int l = 0; i + l < n; ++l) lanes[l] += f(i + l);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int l = 0; l < width; ++l) lanes[l] += lanes[l + width];
  }
  return lanes[0];
}

/// Some numbers as one: a comparison of each by itself does not vectorise. Of 32 bytes: of more than a register has g++ makes one number
/// after the other.
template <typename W>
using Several [[gnu::vector_size(32)]] = W;

/// Maximum of factor · x[i] over [0, n), n > 0. NaN is passed over: the sums that follow carry it.
template <typename W>
LOWRANK_INLINE W lane_max(const W* x, std::int64_t n, W factor) {
  constexpr int kSeveral = 32 / sizeof(W);
  Several<W> most = Several<W>{} + factor * x[0], more = most, next;
  std::int64_t i = 0;
  for (; i + 2 * kSeveral <= n; i += 2 * kSeveral) {
    std::memcpy(&next, x + i, sizeof(next));
    next *= factor;
    most = next > most ? next : most;
    std::memcpy(&next, x + i + kSeveral, sizeof(next));
    next *= factor;
    more = next > more ? next : more;
  }
  most = more > most ? more : most;
  W best = most[0];
  for (int l = 1; l < kSeveral; ++l) best = most[l] > best ? most[l] : best;
  for (; i < n; ++i) best = factor * x[i] > best ? factor * x[i] : best;
  return best;
}

}  // namespace lowrank::kernels::loops
