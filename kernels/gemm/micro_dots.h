// One instruction set's dot products of a few rows with weights as they lie: included by micro.cpp, once for each.
#if defined(LOWRANK_KERNELS_GEMM_MICRO_DOTS_H) == defined(HWY_TARGET_TOGGLE)
#ifdef LOWRANK_KERNELS_GEMM_MICRO_DOTS_H
#undef LOWRANK_KERNELS_GEMM_MICRO_DOTS_H
#else
#define LOWRANK_KERNELS_GEMM_MICRO_DOTS_H
#endif

HWY_BEFORE_NAMESPACE();
namespace lowrank::kernels::gemm {
namespace HWY_NAMESPACE {

// Sums of one product at a time stay in registers: kDotVectors of them for a row and a column.
inline constexpr int kDotVectors = kDotLanes / kLanes;
inline constexpr int kDotSums = kLanes >= 16 ? 8 : kLanes == 8 ? 3 : 1;  // rows × columns

// The forms of weights. Each gives, for the rows from `row` on: `reach(columns, k)` before steps [k, k + kDotLanes) of `columns` rows are
// read; `values(o, k)`, kLanes of them; `number(o, k)`, one; `ask(o, k)` for a line that will be read.
template <typename T>
struct AsTheyLie {
  const T* w;
  std::int64_t step;

  AsTheyLie(const Dots& t, std::int64_t row) : w(static_cast<const T*>(t.w) + row * t.w_step), step(t.w_step) {}
  HWY_INLINE void reach(int, std::int64_t) {}
  HWY_INLINE Vector values(int o, std::int64_t k) const { return lanes(w + o * step + k); }
  HWY_INLINE float number(int o, std::int64_t k) const { return HWY_NAMESPACE::number(w[o * step + k]); }
  HWY_INLINE void ask(int o, std::int64_t k) const {
    hwy::Prefetch(w + o * step + k);
    if constexpr (sizeof(T) == 4) hwy::Prefetch(w + o * step + k + kDotLanes / 2);
  }
};

struct InInt8 {
  const std::int8_t* codes;
  const float* scales;
  std::int64_t in;

  InInt8(const Int8Codes& w, std::int64_t row) : codes(w.codes + row * w.in), scales(w.scales + row), in(w.in) {}
  HWY_INLINE void reach(int, std::int64_t) {}
  HWY_INLINE Vector values(int o, std::int64_t k) const {
    const Full d;
    const auto whole = hn::PromoteTo(hn::RebindToSigned<Full>(), hn::LoadU(hn::Rebind<std::int8_t, Full>(), codes + o * in + k));
    return hn::Mul(hn::Mul(hn::ConvertTo(d, whole), hn::Set(d, scales[o])), hn::Set(d, Int8Codes::kInverse));
  }
  HWY_INLINE float number(int o, std::int64_t k) const { return static_cast<float>(codes[o * in + k]) * scales[o] * Int8Codes::kInverse; }
  HWY_INLINE void ask(int o, std::int64_t k) const { hwy::Prefetch(codes + o * in + k); }
};

// kLanes values of a table of 16 by codes of four bits, two a byte, from the `first` on.
template <bool kUpperFirst>
HWY_INLINE Vector looked_up(const float* HWY_RESTRICT table, const std::uint8_t* codes, std::int64_t first) {
  const Full d;
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  std::uint64_t read = 0;
  std::memcpy(&read, codes + first / 2, kLanes / 2);
  const hn::FixedTag<std::uint8_t, 16> places;
  const auto pairs = hn::BitCast(places, hn::Set(hn::FixedTag<std::uint64_t, 2>(), read));
  const auto lower = hn::And(pairs, hn::Set(places, 15)), upper = hn::ShiftRight<4>(pairs);
  const auto single = kUpperFirst ? hn::InterleaveLower(places, upper, lower) : hn::InterleaveLower(places, lower, upper);
  const hn::RebindToSigned<Full> whole;
#if HWY_TARGET == HWY_AVX3
  return hn::TableLookupLanes(hn::LoadU(d, table), hn::IndicesFromVec(d, hn::PromoteTo(whole, single)));
#else
  const auto index = hn::PromoteTo(whole, hn::LowerHalf(single));
  const auto place = hn::IndicesFromVec(d, hn::And(index, hn::Set(whole, 7)));
  return hn::IfThenElse(hn::RebindMask(d, hn::Gt(index, hn::Set(whole, 7))), hn::TableLookupLanes(hn::LoadU(d, table + 8), place),
                        hn::TableLookupLanes(hn::LoadU(d, table), place));
#endif
#else
  HWY_ALIGN float values[kLanes];
  for (std::int64_t i = first; i < first + kLanes; ++i) values[i - first] = table[(i % 2 == 0) == kUpperFirst ? codes[i / 2] >> 4 : codes[i / 2] & 15];
  return hn::Load(d, values);
#endif
}

struct InNf4 {
  const Nf4Codes& w;
  std::int64_t row;
  float scale[kDotSums] = {};

  InNf4(const Nf4Codes& codes, std::int64_t first) : w(codes), row(first) {}
  HWY_INLINE void reach(int columns, std::int64_t k) {
#pragma GCC unroll 8
    for (int o = 0; o < columns; ++o) {
      const std::int64_t block = ((row + o) * w.in + k) / Nf4Codes::kBlock;
      scale[o] = w.second[w.absmax[block]] * w.scales[block / Nf4Codes::kSecondBlock] + w.offset;
    }
  }
  HWY_INLINE Vector values(int o, std::int64_t k) const {
    return hn::Mul(looked_up<true>(w.values, w.codes, (row + o) * w.in + k), hn::Set(Full(), scale[o]));
  }
  HWY_INLINE float number(int, std::int64_t) const { return 0; }  // rows are whole blocks
  HWY_INLINE void ask(int o, std::int64_t k) const { hwy::Prefetch(w.codes + ((row + o) * w.in + k) / 2); }
};

struct InMxfp4 {
  const Mxfp4Codes& w;
  std::int64_t row;
  const float* table[kDotSums] = {};

  InMxfp4(const Mxfp4Codes& codes, std::int64_t first) : w(codes), row(first) {}
  HWY_INLINE void reach(int columns, std::int64_t k) {
#pragma GCC unroll 8
    for (int o = 0; o < columns; ++o) table[o] = w.tables[w.exponents[((row + o) * w.in + k) / Mxfp4Codes::kBlock]].data();
  }
  HWY_INLINE Vector values(int o, std::int64_t k) const { return looked_up<false>(table[o], w.codes, (row + o) * w.in + k); }
  HWY_INLINE float number(int, std::int64_t) const { return 0; }  // rows are whole blocks
  HWY_INLINE void ask(int o, std::int64_t k) const { hwy::Prefetch(w.codes + ((row + o) * w.in + k) / 2); }
};

// The sum of the lanes, in halves: the i-th with the (i + n/2)-th, until one is left.
#if HWY_TARGET == HWY_SCALAR
HWY_INLINE float added_up(Vector x) { return hn::GetLane(x); }
#else
HWY_INLINE float added_up(hn::Vec<hn::FixedTag<float, 4>> x) {
  const auto pairs = hn::Add(x, hn::Shuffle1032(x));
  return hn::GetLane(hn::Add(pairs, hn::Shuffle2301(pairs)));
}
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
HWY_INLINE float added_up(hn::Vec<hn::FixedTag<float, 8>> x) {
  const hn::FixedTag<float, 4> half;
  return added_up(hn::Add(hn::LowerHalf(half, x), hn::UpperHalf(half, x)));
}
#endif
#if HWY_TARGET == HWY_AVX3
HWY_INLINE float added_up(Vector x) {
  const hn::FixedTag<float, 8> half;
  return added_up(hn::Add(hn::LowerHalf(half, x), hn::UpperHalf(half, x)));
}
#endif
#endif

// kAhead: while these weights are multiplied, those of the next columns come near: memory answers many requests at a time, and the
// processor alone does not ask so far ahead.
template <typename W, int kDotRows, int kDotColumns, bool kAhead>
HWY_INLINE void dot_block(const Dots& t, const float* HWY_RESTRICT x, W w, float* y) {
  const Full d;
  Vector s[kDotRows][kDotColumns][kDotVectors];
#pragma GCC unroll 32
  for (int v = 0; v < kDotVectors; ++v) {
#pragma GCC unroll 8
    for (int i = 0; i < kDotRows; ++i) {
#pragma GCC unroll 8
      for (int o = 0; o < kDotColumns; ++o) s[i][o][v] = hn::Zero(d);
    }
  }
  std::int64_t k = 0;
  for (; k + kDotLanes <= t.inner; k += kDotLanes) {
    w.reach(kDotColumns, k);
    if constexpr (kAhead) {
#pragma GCC unroll 8
      for (int o = 0; o < kDotColumns; ++o) w.ask(o + kDotColumns, k);
    }
#pragma GCC unroll 32
    for (int v = 0; v < kDotVectors; ++v) {
      Vector weights[kDotColumns];
#pragma GCC unroll 8
      for (int o = 0; o < kDotColumns; ++o) weights[o] = w.values(o, k + v * kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < kDotRows; ++i) {
        const Vector left = hn::LoadU(d, x + i * t.x_step + k + v * kLanes);
#pragma GCC unroll 8
        for (int o = 0; o < kDotColumns; ++o) s[i][o][v] = hn::MulAdd(left, weights[o], s[i][o][v]);
      }
    }
  }
  if (k < t.inner) {  // fewer than kDotLanes: zeros take the places of the others
    HWY_ALIGN float left[kDotRows][kDotLanes] = {}, right[kDotColumns][kDotLanes] = {};
    for (int i = 0; i < kDotRows; ++i) std::copy(x + i * t.x_step + k, x + i * t.x_step + t.inner, left[i]);
    for (int o = 0; o < kDotColumns; ++o) {
      for (std::int64_t rest = k; rest < t.inner; ++rest) right[o][rest - k] = w.number(o, rest);
    }
#pragma GCC unroll 32
    for (int v = 0; v < kDotVectors; ++v) {
#pragma GCC unroll 8
      for (int i = 0; i < kDotRows; ++i) {
#pragma GCC unroll 8
        for (int o = 0; o < kDotColumns; ++o)
          s[i][o][v] = hn::MulAdd(hn::Load(d, left[i] + v * kLanes), hn::Load(d, right[o] + v * kLanes), s[i][o][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kDotRows; ++i) {
#pragma GCC unroll 8
    for (int o = 0; o < kDotColumns; ++o) {
#pragma GCC unroll 8
      for (int half = kDotVectors / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
        for (int v = 0; v < half; ++v) s[i][o][v] = hn::Add(s[i][o][v], s[i][o][v + half]);
      }
      const float sum = added_up(s[i][o][0]) * t.scale;
      float& to = y[i * t.y_step + o];
      to = t.accumulate ? to + sum : sum;
    }
  }
}

// Rows [i, t.rows) with all columns, kDotRows at a time; the rest is left to narrower blocks. form(o): the weights from the o-th on.
template <int kDotRows, int kDotColumns, typename Form>
void dot_rows(const Dots& t, std::int64_t i, const Form& form) {
  using W = decltype(form(std::int64_t{0}));
  for (std::int64_t o = 0; o < t.columns;) {
    const bool wide = o + kDotColumns <= t.columns;
    for (std::int64_t row = i; row + kDotRows <= t.rows; row += kDotRows) {
      const float* const x = t.x + row * t.x_step;
      float* const y = t.y + row * t.y_step + o;
      if (!wide) {
        dot_block<W, kDotRows, 1, false>(t, x, form(o), y);
      } else if (row == i) {
        dot_block<W, kDotRows, kDotColumns, true>(t, x, form(o), y);
      } else {
        dot_block<W, kDotRows, kDotColumns, false>(t, x, form(o), y);
      }
    }
    o += wide ? kDotColumns : 1;
  }
}

template <typename Form>
void dots_of(const Dots& t, const Form& form) {
  constexpr int kTogether = kDotSums >= 8 ? 4 : kDotSums;
  const std::int64_t together = t.rows / kTogether * kTogether;
  if (kTogether > 1 && together > 0) {
    Dots some = t;
    some.rows = together;
    dot_rows<kTogether, kDotSums / kTogether>(some, 0, form);
  }
  if (kTogether == 1 || together < t.rows) dot_rows<1, kDotSums>(t, kTogether == 1 ? 0 : together, form);
}

inline void dots(const Dots& t) {
  if (const auto* const int8 = std::get_if<Int8Codes>(&t.codes)) return dots_of(t, [&](std::int64_t o) { return InInt8(*int8, t.row + o); });
  if (const auto* const nf4 = std::get_if<Nf4Codes>(&t.codes)) return dots_of(t, [&](std::int64_t o) { return InNf4(*nf4, t.row + o); });
  if (const auto* const mxfp4 = std::get_if<Mxfp4Codes>(&t.codes)) return dots_of(t, [&](std::int64_t o) { return InMxfp4(*mxfp4, t.row + o); });
  switch (t.element) {
    case Element::kFloat:
      return dots_of(t, [&](std::int64_t o) { return AsTheyLie<float>(t, o); });
    case Element::kBFloat16:
      return dots_of(t, [&](std::int64_t o) { return AsTheyLie<hwy::bfloat16_t>(t, o); });
    case Element::kHalf:
      return dots_of(t, [&](std::int64_t o) { return AsTheyLie<hwy::float16_t>(t, o); });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lowrank::kernels::gemm
HWY_AFTER_NAMESPACE();

#endif  // LOWRANK_KERNELS_GEMM_MICRO_DOTS_H
