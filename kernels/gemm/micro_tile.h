// One instruction set's kernels: included by micro.cpp, once for each.
#if defined(LOWRANK_KERNELS_GEMM_MICRO_TILE_H) == defined(HWY_TARGET_TOGGLE)
#ifdef LOWRANK_KERNELS_GEMM_MICRO_TILE_H
#undef LOWRANK_KERNELS_GEMM_MICRO_TILE_H
#else
#define LOWRANK_KERNELS_GEMM_MICRO_TILE_H
#endif

HWY_BEFORE_NAMESPACE();
namespace lowrank::kernels::gemm {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Full = hn::ScalableTag<float>;
using Vector = hn::Vec<Full>;
inline constexpr int kLanes = HWY_LANES(float);
// 32 registers of 16 floats take 14 rows of 2 vectors, 16 registers of 8 take 6.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
inline constexpr int kRows = 14;
#else
inline constexpr int kRows = 6;
#endif
inline constexpr int kColumns = 2 * kLanes;

// The sums of a tile go into its c. Apart from the loops that make them: one function for all.
HWY_NOINLINE void finish(const Tile& t, const float* HWY_RESTRICT sums) {
  const Full d;
  const Vector scale = hn::Set(d, t.scale);
  for (int i = 0; i < t.rows; ++i, sums += kColumns) {
    float* HWY_RESTRICT c = t.c + i * t.c_step;
    int j = 0;
    for (; j + kLanes <= t.columns; j += kLanes) {
      Vector x = hn::Mul(hn::Load(d, sums + j), scale);
      if (t.bias != nullptr) x = hn::Add(x, hn::LoadU(d, t.bias + j));
      if (t.accumulate) x = hn::Add(x, hn::LoadU(d, c + j));
      hn::StoreU(x, d, c + j);
    }
    for (; j < t.columns; ++j) {
      float y = sums[j] * t.scale;
      if (t.bias != nullptr) y += t.bias[j];
      c[j] = t.accumulate ? y + c[j] : y;
    }
  }
}

#define LOWRANK_FOR_ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13)

template <int kTileRows, int kVectors>
void tile_of(const Tile& t) {
  const Full d;
  // What the sums are stored into comes near while they are made.
  for (int i = 0; i < kTileRows; ++i) {
    hwy::Prefetch(t.c + i * t.c_step);
    if constexpr (kVectors > 1) hwy::Prefetch(t.c + i * t.c_step + kLanes);
  }
#define LOWRANK_SUMS(i) Vector low##i = hn::Zero(d), high##i = hn::Zero(d);
  LOWRANK_FOR_ROWS(LOWRANK_SUMS)
#undef LOWRANK_SUMS
  for (const Range* range : {&t.first, &t.second}) {
    const float* HWY_RESTRICT a = range->a;
    const float* HWY_RESTRICT b = range->b;
    const std::int64_t a_step = range->a_step, b_step = range->b_step, a_row = range->a_row;
#define LOWRANK_STEP(i)                                                   \
  if constexpr (kTileRows > i) {                                          \
    const Vector x = hn::Set(d, LOWRANK_LEFT(i));                         \
    low##i = hn::MulAdd(x, b_low, low##i);                                \
    if constexpr (kVectors > 1) high##i = hn::MulAdd(x, b_high, high##i); \
  }
    if (a_row == 1) {
#define LOWRANK_LEFT(i) a[i]
#pragma GCC unroll 4
      for (std::int64_t k = range->k; k > 0; --k) {
        const Vector b_low = hn::LoadU(d, b);
        Vector b_high = b_low;
        if constexpr (kVectors > 1) b_high = hn::LoadU(d, b + kLanes);
        LOWRANK_FOR_ROWS(LOWRANK_STEP)
        a += a_step;
        b += b_step;
      }
#undef LOWRANK_LEFT
      continue;
    }
    // Three rows to a pointer: addresses with two terms are free.
    const float* rows[(kTileRows + 2) / 3];
    for (int i = 0; i < (kTileRows + 2) / 3; ++i) rows[i] = a + 3 * i * a_row;
#define LOWRANK_LEFT(i) rows[i / 3][i % 3 * a_row]
#pragma GCC unroll 4
    for (std::int64_t k = range->k; k > 0; --k) {
      const Vector b_low = hn::LoadU(d, b);
      Vector b_high = b_low;
      if constexpr (kVectors > 1) b_high = hn::LoadU(d, b + kLanes);
      LOWRANK_FOR_ROWS(LOWRANK_STEP)
      for (const float*& row : rows) ++row;
      b += b_step;
    }
#undef LOWRANK_LEFT
#undef LOWRANK_STEP
  }
  if (kVectors == 2 && t.columns == kColumns && t.scale == 1 && t.bias == nullptr) {
#define LOWRANK_STORE(i)                                         \
  if constexpr (kTileRows > i) {                                 \
    float* const c = t.c + i * t.c_step;                         \
    if (t.accumulate) {                                          \
      low##i = hn::Add(low##i, hn::LoadU(d, c));                 \
      high##i = hn::Add(high##i, hn::LoadU(d, c + kLanes));      \
    }                                                            \
    hn::StoreU(low##i, d, c);                                    \
    hn::StoreU(high##i, d, c + kLanes);                          \
  }
    LOWRANK_FOR_ROWS(LOWRANK_STORE)
#undef LOWRANK_STORE
    return;
  }
  HWY_ALIGN float sums[kTileRows * kColumns];
#define LOWRANK_KEEP(i)                                                              \
  if constexpr (kTileRows > i) {                                                     \
    hn::Store(low##i, d, sums + i * kColumns);                                       \
    if constexpr (kVectors > 1) hn::Store(high##i, d, sums + i * kColumns + kLanes); \
  }
  LOWRANK_FOR_ROWS(LOWRANK_KEEP)
#undef LOWRANK_KEEP
  finish(t, sums);
}
#undef LOWRANK_FOR_ROWS

using TileFunction = void (*)(const Tile&);
template <int kVectors, std::size_t... i>
constexpr void tile_functions(TileFunction* to, std::index_sequence<i...>) {
  ((to[i] = &tile_of<static_cast<int>(i) + 1, kVectors>), ...);
}
struct TileTable {
  TileFunction narrow[kRows] = {}, wide[kRows] = {};
  constexpr TileTable() {
    tile_functions<1>(narrow, std::make_index_sequence<kRows>());
    tile_functions<2>(wide, std::make_index_sequence<kRows>());
  }
};

inline void tile(const Tile& t) {
  static constexpr TileTable table;
  (t.columns > kLanes ? table.wide : table.narrow)[t.rows - 1](t);
}

inline float number(float x) { return x; }
inline float number(hwy::bfloat16_t x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }
inline float number(hwy::float16_t x) {
  const std::uint32_t bits = x.bits, sign = (bits & 0x8000U) << 16, rest = bits & 0x7FFFU;
  if (rest >= 0x7C00U) return std::bit_cast<float>(sign | 0x7F800000U | (rest & 0x3FFU) << 13);
  // As a float of too small an exponent, which a product with a power of two sets right: subnormals too.
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(std::bit_cast<float>(rest << 13) * 0x1p112F) | sign);
}

// As the lanes multiply and add: in one rounding where there is an instruction for it.
HWY_INLINE float multiply_add(float x, float y, float sum) {
  const hn::CappedTag<float, 1> d;
  return hn::GetLane(hn::MulAdd(hn::Set(d, x), hn::Set(d, y), hn::Set(d, sum)));
}

HWY_INLINE Vector lanes(const float* x) { return hn::LoadU(Full(), x); }
HWY_INLINE Vector lanes(const hwy::bfloat16_t* x) {
  return hn::PromoteTo(Full(), hn::LoadU(hn::Rebind<hwy::bfloat16_t, Full>(), x));
}
HWY_INLINE Vector lanes(const hwy::float16_t* x) {
  return hn::PromoteTo(Full(), hn::LoadU(hn::Rebind<hwy::float16_t, Full>(), x));
}

#if HWY_TARGET != HWY_SCALAR
using Quarter = hn::FixedTag<float, 4>;
HWY_INLINE hn::Vec<Quarter> four(const float* x) { return hn::LoadU(Quarter(), x); }
HWY_INLINE hn::Vec<Quarter> four(const hwy::bfloat16_t* x) {
  return hn::PromoteTo(Quarter(), hn::LoadU(hn::Rebind<hwy::bfloat16_t, Quarter>(), x));
}
HWY_INLINE hn::Vec<Quarter> four(const hwy::float16_t* x) {
  return hn::PromoteTo(Quarter(), hn::LoadU(hn::Rebind<hwy::float16_t, Quarter>(), x));
}
#endif

// Steps of k lie apart in the source: rows of it are copied.
template <typename T>
void pack_steps(const T* x, std::int64_t n, std::int64_t count, std::int64_t k_step, float scale, float* to,
                std::int64_t width, std::int64_t step) {
  const Full d;
  const Vector factor = hn::Set(d, scale);
  for (std::int64_t k = 0; k < count; ++k, x += k_step, to += step) {
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) hn::StoreU(hn::Mul(lanes(x + i), factor), d, to + i);
#if HWY_TARGET != HWY_SCALAR
    for (; i + 4 <= n; i += 4) hn::StoreU(hn::Mul(four(x + i), hn::Set(Quarter(), scale)), Quarter(), to + i);
#endif
    for (; i < n; ++i) to[i] = number(x[i]) * scale;
    for (; i < width; ++i) to[i] = 0;
  }
}

#if HWY_TARGET != HWY_SCALAR
// Four rows: 4 × 4 elements are turned at a time. Gives the number of steps that are done.
template <typename T>
std::int64_t pack_four(const T* x, std::int64_t count, std::int64_t row_step, float scale, float* to,
                       std::int64_t step) {
  const Quarter d;
  const auto factor = hn::Set(d, scale);
  std::int64_t k = 0;
  for (; k + 4 <= count; k += 4, x += 4, to += 4 * step) {
    const auto x0 = hn::Mul(four(x), factor), x1 = hn::Mul(four(x + row_step), factor),
               x2 = hn::Mul(four(x + 2 * row_step), factor), x3 = hn::Mul(four(x + 3 * row_step), factor);
    const auto even_low = hn::InterleaveLower(d, x0, x2), even_high = hn::InterleaveUpper(d, x0, x2);
    const auto odd_low = hn::InterleaveLower(d, x1, x3), odd_high = hn::InterleaveUpper(d, x1, x3);
    hn::StoreU(hn::InterleaveLower(d, even_low, odd_low), d, to);
    hn::StoreU(hn::InterleaveUpper(d, even_low, odd_low), d, to + step);
    hn::StoreU(hn::InterleaveLower(d, even_high, odd_high), d, to + 2 * step);
    hn::StoreU(hn::InterleaveUpper(d, even_high, odd_high), d, to + 3 * step);
  }
  return k;
}
#else
template <typename T>
std::int64_t pack_four(const T*, std::int64_t, std::int64_t, float, float*, std::int64_t) {
  return 0;
}
#endif

// Steps of k are neighbours in the source: some at a time, so that what is written stays near until it is whole. The
// last four rows overlap those before them where their number asks for it.
template <typename T>
void pack_rows(const T* x, std::int64_t n, std::int64_t count, std::int64_t row_step, float scale, float* to,
               std::int64_t width, std::int64_t step) {
  constexpr std::int64_t kSteps = 64;
  for (std::int64_t first = 0; first < count; first += kSteps, x += kSteps, to += kSteps * step) {
    const std::int64_t steps = std::min(kSteps, count - first);
    for (std::int64_t done = 0; done < n; done += 4) {
      const std::int64_t i = n >= 4 ? std::min(done, n - 4) : 0, rows = std::min<std::int64_t>(n, 4);
      std::int64_t k = 0;
      if (rows == 4) k = pack_four(x + i * row_step, steps, row_step, scale, to + i, step);
      for (; k < steps; ++k) {
        for (std::int64_t row = i; row < i + rows; ++row) to[k * step + row] = number(x[row * row_step + k]) * scale;
      }
    }
    for (std::int64_t k = 0; n < width && k < steps; ++k) {
      for (std::int64_t row = n; row < width; ++row) to[k * step + row] = 0;
    }
  }
}

template <typename T>
void pack_of(const Source& x, std::int64_t n, std::int64_t count, float scale, float* to, std::int64_t width,
             std::int64_t step) {
  const T* const data = static_cast<const T*>(x.data);
  if (x.row_step == 1) return pack_steps(data, n, count, x.column_step, scale, to, width, step);
  pack_rows(data, n, count, x.row_step, scale, to, width, step);
}

inline void pack(const Source& x, std::int64_t n, std::int64_t count, float scale, float* to, std::int64_t width,
                 std::int64_t step) {
  switch (x.element) {
    case Element::kFloat:
      return pack_of<float>(x, n, count, scale, to, width, step);
    case Element::kBFloat16:
      return pack_of<hwy::bfloat16_t>(x, n, count, scale, to, width, step);
    case Element::kHalf:
      return pack_of<hwy::float16_t>(x, n, count, scale, to, width, step);
  }
}

inline void round_row(const float* x, std::int64_t n, std::uint16_t* to) {
  for (std::int64_t i = 0; i < n; ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(x[i]);
    const std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
    to[i] = static_cast<std::uint16_t>(x[i] != x[i] ? 0x7FC0U : rounded);
  }
}

inline float multiply_adds(std::int64_t n) {
  const Full d;
  const Vector a = hn::Set(d, 1.0F + 1e-7F * static_cast<float>(n)), b = hn::Set(d, 0.5F);
  // Each chain begins elsewhere: equal ones would be computed once.
#define LOWRANK_CHAIN(i) Vector s##i = hn::Set(d, static_cast<float>(i));
  LOWRANK_CHAIN(0) LOWRANK_CHAIN(1) LOWRANK_CHAIN(2) LOWRANK_CHAIN(3) LOWRANK_CHAIN(4) LOWRANK_CHAIN(5)
  LOWRANK_CHAIN(6) LOWRANK_CHAIN(7) LOWRANK_CHAIN(8) LOWRANK_CHAIN(9) LOWRANK_CHAIN(10) LOWRANK_CHAIN(11)
#undef LOWRANK_CHAIN
  for (; n > 0; --n) {
    s0 = hn::MulAdd(s0, a, b), s1 = hn::MulAdd(s1, a, b), s2 = hn::MulAdd(s2, a, b), s3 = hn::MulAdd(s3, a, b);
    s4 = hn::MulAdd(s4, a, b), s5 = hn::MulAdd(s5, a, b), s6 = hn::MulAdd(s6, a, b), s7 = hn::MulAdd(s7, a, b);
    s8 = hn::MulAdd(s8, a, b), s9 = hn::MulAdd(s9, a, b), s10 = hn::MulAdd(s10, a, b), s11 = hn::MulAdd(s11, a, b);
  }
  const Vector sum = hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)),
                             hn::Add(hn::Add(hn::Add(s4, s5), hn::Add(s6, s7)), hn::Add(hn::Add(s8, s9), hn::Add(s10, s11))));
  return hn::GetLane(sum);
}

}  // namespace HWY_NAMESPACE
}  // namespace lowrank::kernels::gemm
HWY_AFTER_NAMESPACE();

#endif  // LOWRANK_KERNELS_GEMM_MICRO_TILE_H
