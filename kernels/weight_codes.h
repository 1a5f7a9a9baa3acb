// How a weight in codes lies in the host's memory, for products that read it there without a decoded copy.
#pragma once

#include <array>
#include <cstdint>
#include <variant>

namespace lowrank::kernels {

/// W[o, k] = code · scale · kInverse, each product rounded to fp32.
struct Int8Codes {
  static constexpr float kInverse = 7.874015718698502e-3F;  // 1/127

  const std::int8_t* codes = nullptr;  // [out, in]
  const float* scales = nullptr;       // [out]
  std::int64_t in = 0;
};

/// W = values[code] · (second[absmax] · scale + offset), each operation rounded to fp32. Rows begin where blocks do.
struct Nf4Codes {
  static constexpr std::int64_t kBlock = 64, kSecondBlock = 256;

  const std::uint8_t* codes = nullptr;   // two a byte, the first in the upper half
  const std::uint8_t* absmax = nullptr;  // one a block
  const float* scales = nullptr;         // one for kSecondBlock blocks
  float offset = 0;
  const float* values = nullptr;  // [16]
  const float* second = nullptr;  // [256]
  std::int64_t in = 0;
};

/// W = tables[exponent][code].
struct Mxfp4Codes {
  static constexpr std::int64_t kBlock = 32;

  const std::uint8_t* codes = nullptr;      // two a byte, the first in the lower half
  const std::uint8_t* exponents = nullptr;  // one a block
  const std::array<float, 16>* tables = nullptr;  // [256]
  std::int64_t in = 0;
};

/// monostate: only decoded panels are to be had.
using WeightCodes = std::variant<std::monostate, Int8Codes, Nf4Codes, Mxfp4Codes>;

}  // namespace lowrank::kernels
