#include "lowrank/kernels/gemm/bf16_kernel.h"

#include <atomic>
#include <cstdlib>
#include <string_view>

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace lowrank::kernels::gemm {
namespace {

#define LOWRANK_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define LOWRANK_AMX __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,amx-tile,amx-bf16")))

constexpr std::int64_t kPair = 2 * kBf16Columns;  // elements of a panel for two steps

// 16 rows of 16 words, turned.
LOWRANK_AVX512 inline void turn(__m512i* r) {
  __m512i t[16];
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    r[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
    r[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
  }
}

// Of the first n of 32 elements.
LOWRANK_AVX512 inline __mmask32 first(std::int64_t n) { return n >= 32 ? ~__mmask32{0} : (__mmask32{1} << std::max<std::int64_t>(n, 0)) - 1; }

LOWRANK_AVX512 void pack_columns(const Bf16* b, std::int64_t step, std::int64_t n, std::int64_t count, Bf16* to) {
  for (std::int64_t k = 0; k < count; k += kBf16Steps, to += kBf16Steps / 2 * kPair) {
    const __mmask32 there = first(count - k);
    for (std::int64_t half = 0; half < kBf16Columns; half += 16) {
      __m512i rows[16];
      for (std::int64_t i = 0; i < 16; ++i)
        rows[i] = half + i < n ? _mm512_maskz_loadu_epi16(there, b + (half + i) * step + k) : _mm512_setzero_si512();
      turn(rows);
      for (std::int64_t i = 0; i < 16; ++i) _mm512_storeu_si512(to + i * kPair + 2 * half, rows[i]);
    }
  }
}

LOWRANK_AVX512 void pack_steps(const Bf16* b, std::int64_t step, std::int64_t n, std::int64_t count, Bf16* to) {
  const __mmask32 there = first(n);
  alignas(64) Bf16 low_places[32], high_places[32];
  for (int i = 0; i < 16; ++i) {
    low_places[2 * i] = static_cast<Bf16>(i), low_places[2 * i + 1] = static_cast<Bf16>(32 + i);
    high_places[2 * i] = static_cast<Bf16>(16 + i), high_places[2 * i + 1] = static_cast<Bf16>(48 + i);
  }
  const __m512i low = _mm512_load_si512(low_places), high = _mm512_load_si512(high_places);
  const std::int64_t padded = (count + kBf16Steps - 1) / kBf16Steps * kBf16Steps;
  for (std::int64_t k = 0; k < padded; k += 2, to += kPair) {
    const __m512i even = k < count ? _mm512_maskz_loadu_epi16(there, b + k * step) : _mm512_setzero_si512();
    const __m512i odd = k + 1 < count ? _mm512_maskz_loadu_epi16(there, b + (k + 1) * step) : _mm512_setzero_si512();
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(even, low, odd));
    _mm512_storeu_si512(to + kBf16Columns, _mm512_permutex2var_epi16(even, high, odd));
  }
}

// 16 numbers, rounded to nearest even; NaN stays one.
LOWRANK_AVX512 inline __m256i rounded(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(_mm512_srli_epi32(sum, 16), nan, _mm512_set1_epi32(0x7FC0)));
}

LOWRANK_AVX512 void store(const float* c, std::int64_t rows, std::int64_t columns, const float* bias, Bf16* to, std::int64_t to_step) {
  for (std::int64_t half = 0; half < columns; half += 16) {
    const __mmask16 there = static_cast<__mmask16>(first(columns - half));
    const __m512 more = bias != nullptr ? _mm512_maskz_loadu_ps(there, bias + half) : _mm512_setzero_ps();
    for (std::int64_t i = 0; i < rows; ++i)
      _mm256_mask_storeu_epi16(to + i * to_step + half, there, rounded(_mm512_add_ps(_mm512_loadu_ps(c + i * kBf16Columns + half), more)));
  }
}

// What is below the exponents of bf16 is zero, as it is to the products.
LOWRANK_AVX512 void split(const float* x, std::int64_t n, float scale, Bf16* to, std::int64_t apart, std::int64_t parts) {
  const __m512 factor = _mm512_set1_ps(scale), largest = _mm512_castsi512_ps(_mm512_set1_epi32(0x7F7F0000)), zero = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < n; i += 16) {
    const __mmask16 there = static_cast<__mmask16>(first(n - i));
    __m512 rest = _mm512_mul_ps(_mm512_maskz_loadu_ps(there, x + i), factor), nearest = rest;
    if (parts > 1) {  // the nearest to the largest numbers is infinity, which leaves nothing to be taken apart
      const __mmask16 finite = _mm512_cmp_ps_mask(_mm512_sub_ps(rest, rest), zero, _CMP_EQ_OQ);
      nearest = _mm512_mask_max_ps(rest, finite, _mm512_min_ps(rest, largest), _mm512_sub_ps(zero, largest));
    }
    for (std::int64_t p = 0;; ++p) {
      const auto part = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(nearest));
      _mm256_mask_storeu_epi16(to + p * apart + i, there, part);
      if (p + 1 == parts) break;
      rest = _mm512_sub_ps(rest, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(part), 16)));
      nearest = rest;
    }
  }
}

void nothing() {}

LOWRANK_AVX512 inline __m512bh two(const Bf16* at) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(at)); }

LOWRANK_AVX512 void tile_of_pairs(const Bf16Range* ranges, std::int64_t count, float* c, std::int64_t c_step, bool accumulate) {
  constexpr std::int64_t kTall = 8;
  for (std::int64_t row = 0; row < kBf16Rows; row += kTall) {
    __m512 low[kTall], high[kTall];
#pragma GCC unroll 8
    for (std::int64_t i = 0; i < kTall; ++i) {
      const float* const from = c + (row + i) * c_step;
      low[i] = accumulate ? _mm512_loadu_ps(from) : _mm512_setzero_ps();
      high[i] = accumulate ? _mm512_loadu_ps(from + 16) : _mm512_setzero_ps();
    }
    for (const Bf16Range* range = ranges; range != ranges + count; ++range) {
      for (std::int64_t depth = std::max(range->a_parts, range->b_parts) - 1; depth >= 0; --depth) {
        for (std::int64_t p = std::max<std::int64_t>(depth - range->b_parts + 1, 0); p <= std::min(depth, range->a_parts - 1); ++p) {
          const Bf16* a = range->a + p * range->a_apart + row * range->a_row;
          const Bf16* b = range->b + (depth - p) * range->b_apart;
          for (std::int64_t k = 0; k < range->k; k += 2, a += 2, b += kPair) {
            const __m512bh left = two(b), right = two(b + kBf16Columns);
#pragma GCC unroll 8
            for (std::int64_t i = 0; i < kTall; ++i) {
              int pair;
              __builtin_memcpy(&pair, a + i * range->a_row, sizeof(pair));
              const auto x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
              low[i] = _mm512_dpbf16_ps(low[i], x, left);
              high[i] = _mm512_dpbf16_ps(high[i], x, right);
            }
          }
        }
      }
    }
#pragma GCC unroll 8
    for (std::int64_t i = 0; i < kTall; ++i) {
      float* const to = c + (row + i) * c_step;
      _mm512_storeu_ps(to, low[i]);
      _mm512_storeu_ps(to + 16, high[i]);
    }
  }
}

// Eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

LOWRANK_AMX void configure() {
  static const TileConfig config;
  _tile_loadconfig(&config);
}
LOWRANK_AMX void release() { _tile_release(); }

// Tiles 0 to 3 += the products of part 0 and part 0.
LOWRANK_AMX inline void add_largest(const Bf16Range& range) {
  const std::int64_t a_bytes = 2 * range.a_row, b_bytes = 2 * kPair;
  const Bf16 *a = range.a, *lower = a + 16 * range.a_row, *b = range.b;
  for (std::int64_t k = range.k; k > 0; k -= kBf16Steps) {
    _tile_loadd(6, b, b_bytes);
    _tile_loadd(4, a, a_bytes);
    _tile_loadd(7, b + kBf16Columns, b_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, lower, a_bytes);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    a += kBf16Steps;
    lower += kBf16Steps;
    b += kBf16Steps / 2 * kPair;
  }
}

// Those of all other parts, of the same steps after each other: a tile that is loaded is multiplied by all that belong to it.
LOWRANK_AMX inline void add_smaller(const Bf16Range& range) {
  const std::int64_t a_bytes = 2 * range.a_row, b_bytes = 2 * kPair, depth = std::max(range.a_parts, range.b_parts);
  const Bf16 *a = range.a, *b = range.b;
  for (std::int64_t k = range.k; k > 0; k -= kBf16Steps) {
    for (std::int64_t p = range.a_parts - 1; p >= (range.b_parts > 1 ? 0 : 1); --p) {
      const Bf16* const part = a + p * range.a_apart;
      _tile_loadd(4, part, a_bytes);
      _tile_loadd(5, part + 16 * range.a_row, a_bytes);
      for (std::int64_t q = std::min(range.b_parts, depth - p) - 1; q >= (p == 0 ? 1 : 0); --q) {
        const Bf16* const other = b + q * range.b_apart;
        _tile_loadd(6, other, b_bytes);
        _tile_loadd(7, other + kBf16Columns, b_bytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
    a += kBf16Steps;
    b += kBf16Steps / 2 * kPair;
  }
}

LOWRANK_AMX void tile_of_amx(const Bf16Range* ranges, std::int64_t count, float* c, std::int64_t c_step, bool accumulate) {
  float* const below = c + 16 * c_step;
  const std::int64_t c_bytes = 4 * c_step;
  if (accumulate) {
    _tile_loadd(0, c, c_bytes);
    _tile_loadd(1, c + 16, c_bytes);
    _tile_loadd(2, below, c_bytes);
    _tile_loadd(3, below + 16, c_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (const Bf16Range* range = ranges; range != ranges + count; ++range) {
    if (range->a_parts > 1 || range->b_parts > 1) add_smaller(*range);
    add_largest(*range);
  }
  _tile_stored(0, c, c_bytes);
  _tile_stored(1, c + 16, c_bytes);
  _tile_stored(2, below, c_bytes);
  _tile_stored(3, below + 16, c_bytes);
}

// The kernel gives a process the tiles' registers when it is asked.
bool has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kBf16 = 1U << 22, kTiles = 1U << 24;
  if ((d & kBf16) == 0 || (d & kTiles) == 0) return false;
  constexpr int kAsk = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;
  return ::syscall(SYS_arch_prctl, kAsk, kTileData) == 0;
}

constexpr Bf16Kernel kAmx{"amx", configure, release, tile_of_amx, pack_steps, pack_columns, store, split, /*multiplies_parts=*/true};
constexpr Bf16Kernel kPairs{"avx512_bf16", nothing, nothing, tile_of_pairs, pack_steps, pack_columns, store, split, /*multiplies_parts=*/false};

// On AMD's CPUs pairs are multiplied twice as fast as fp32; on Intel's not faster, but by AMX.
bool pairs_pay() {
  __builtin_cpu_init();
  return __builtin_cpu_is("amd") != 0;
}

std::vector<const Bf16Kernel*> found() {
  __builtin_cpu_init();
  const bool pairs = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                     __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bf16");
  if (!pairs) return {};
  if (has_amx()) return {&kAmx, &kPairs};
  return {&kPairs};
}

}  // namespace
}  // namespace lowrank::kernels::gemm
#else
namespace lowrank::kernels::gemm {
namespace {
std::vector<const Bf16Kernel*> found() { return {}; }
bool pairs_pay() { return false; }
}  // namespace
}  // namespace lowrank::kernels::gemm
#endif

namespace lowrank::kernels::gemm {
namespace {

const Bf16Kernel* asked_for() {
  const auto& all = bf16_kernels();
  const char* const text = std::getenv("LOWRANK_INSTRUCTION_SET");
  if (text == nullptr || *text == '\0')
    return all.empty() || (std::string_view(all.front()->name) == "avx512_bf16" && !pairs_pay()) ? nullptr : all.front();
  for (const Bf16Kernel* kernel : all)
    if (std::string_view(text) == kernel->name) return kernel;
  return nullptr;
}

std::atomic<const Bf16Kernel*>& in_force() {
  static std::atomic<const Bf16Kernel*> kernel{asked_for()};
  return kernel;
}

}  // namespace

const std::vector<const Bf16Kernel*>& bf16_kernels() {
  static const std::vector<const Bf16Kernel*> all = found();
  return all;
}

const Bf16Kernel* bf16_kernel() { return in_force().load(std::memory_order_relaxed); }

void force_bf16_kernel(const Bf16Kernel* kernel) { in_force().store(kernel, std::memory_order_relaxed); }

}  // namespace lowrank::kernels::gemm
