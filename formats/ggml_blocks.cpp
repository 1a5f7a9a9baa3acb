#include "lowrank/formats/ggml_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "lowrank/core/error.h"

namespace lowrank::formats {

namespace {

constexpr std::size_t kBlock = 32, kHalf = kBlock / 2;
constexpr std::size_t kQ8Bytes = 2 + kBlock, kQ4Bytes = 2 + kHalf;

/// Bits of `value` shifted down, rounded to the nearest, ties to even.
std::uint32_t rounded(std::uint32_t value, int bits) {
  return (value + (std::uint32_t{1} << (bits - 1)) - 1 + (value >> bits & 1)) >> bits;
}

std::uint16_t to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
  const std::uint32_t magnitude = bits & 0x7FFFFFFF;
  const auto with_sign = [&](std::uint32_t half) { return static_cast<std::uint16_t>(sign | half); };
  if (magnitude > 0x7F800000) return with_sign(0x7E00);
  const int exponent = static_cast<int>(magnitude >> 23) - 127;
  if (exponent > 15) return with_sign(0x7C00);
  if (exponent >= -14) return with_sign(rounded(magnitude - (std::uint32_t{112} << 23), 13));  // may round to infinity
  if (exponent < -25) return with_sign(0);
  return with_sign(rounded((magnitude & 0x7FFFFF) | 0x800000, -exponent - 1));
}

float from_f16(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000) << 16, magnitude = half & 0x7FFF;
  if (magnitude >= 0x7C00) return std::bit_cast<float>(sign | 0x7F800000 | (magnitude & 0x3FF) << 13);
  if (magnitude >= 0x400) return std::bit_cast<float>(sign | ((magnitude << 13) + (std::uint32_t{112} << 23)));
  const float value = std::ldexp(static_cast<float>(magnitude), -24);
  return sign != 0 ? -value : value;
}

std::uint16_t to_bf16(float value) {
  return static_cast<std::uint16_t>(rounded(std::bit_cast<std::uint32_t>(value), 16));
}

float from_bf16(std::uint16_t brain) { return std::bit_cast<float>(static_cast<std::uint32_t>(brain) << 16); }

void put(std::uint16_t value, std::byte* to) {
  to[0] = static_cast<std::byte>(value & 0xFF);
  to[1] = static_cast<std::byte>(value >> 8);
}

std::uint16_t get(const std::byte* from) {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(from[0]) | std::to_integer<unsigned>(from[1]) << 8);
}

/// 1 / scale. A scale so small that this is no number is 0 in F16 anyway.
float inverse(float scale) {
  const float inverse = scale == 0 ? 0.F : 1.F / scale;
  return std::isfinite(inverse) ? inverse : 0.F;
}

void encode_q8(const float* values, std::byte* to) {
  float largest = 0;
  for (std::size_t i = 0; i < kBlock; ++i) largest = std::max(largest, std::abs(values[i]));
  const float scale = largest / 127.F, factor = inverse(scale);
  put(to_f16(scale), to);
  for (std::size_t i = 0; i < kBlock; ++i)
    to[2 + i] = static_cast<std::byte>(static_cast<std::int8_t>(std::round(values[i] * factor)));
}

void decode_q8(const std::byte* from, float* values) {
  const float scale = from_f16(get(from));
  for (std::size_t i = 0; i < kBlock; ++i)
    values[i] = static_cast<float>(std::to_integer<std::int8_t>(from[2 + i])) * scale;
}

/// The value of largest magnitude becomes -8, whose sign decides that of the scale.
void encode_q4(const float* values, std::byte* to) {
  float largest = values[0];
  for (std::size_t i = 1; i < kBlock; ++i)
    if (std::abs(values[i]) > std::abs(largest)) largest = values[i];
  const float scale = largest / -8.F, factor = inverse(scale);
  put(to_f16(scale), to);
  const auto number = [&](float value) {
    const float product = value * factor;  // rounded by itself: this file is compiled without contraction
    return std::min(static_cast<unsigned>(product + 8.5F), 15U);
  };
  for (std::size_t i = 0; i < kHalf; ++i)
    to[2 + i] = static_cast<std::byte>(number(values[i]) | number(values[kHalf + i]) << 4);
}

void decode_q4(const std::byte* from, float* values) {
  const float scale = from_f16(get(from));
  for (std::size_t i = 0; i < kHalf; ++i) {
    const auto pair = std::to_integer<int>(from[2 + i]);
    values[i] = static_cast<float>((pair & 15) - 8) * scale;
    values[kHalf + i] = static_cast<float>((pair >> 4) - 8) * scale;
  }
}

/// Bytes of a block.
std::size_t block_bytes(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return 4;
    case GgmlType::kQ8_0:
      return kQ8Bytes;
    case GgmlType::kQ4_0:
      return kQ4Bytes;
    default:
      return 2;
  }
}

void check_sizes(GgmlType type, std::size_t values, std::size_t bytes) {
  const auto block = static_cast<std::size_t>(ggml_block(type));
  if (values % block != 0 || bytes != values / block * block_bytes(type))
    throw InternalError(fmt::format("{} values of {} are not {} bytes", values, ggml_name(type), bytes));
}

}  // namespace

std::string_view ggml_name(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return "F32";
    case GgmlType::kF16:
      return "F16";
    case GgmlType::kBF16:
      return "BF16";
    case GgmlType::kQ8_0:
      return "Q8_0";
    case GgmlType::kQ4_0:
      return "Q4_0";
  }
  return "?";
}

std::int64_t ggml_block(GgmlType type) {
  return type == GgmlType::kQ8_0 || type == GgmlType::kQ4_0 ? static_cast<std::int64_t>(kBlock) : 1;
}

std::uint64_t ggml_bytes(GgmlType type, const std::vector<std::int64_t>& shape) {
  const auto block = static_cast<std::uint64_t>(ggml_block(type));
  if (shape.empty() || static_cast<std::uint64_t>(shape.back()) % block != 0)
    throw InternalError(
        fmt::format("rows of {} values are no whole blocks of {}", shape.empty() ? 0 : shape.back(), ggml_name(type)));
  std::uint64_t count = 1;
  for (const std::int64_t extent : shape) count *= static_cast<std::uint64_t>(extent);
  return count / block * block_bytes(type);
}

void encode_values(GgmlType type, std::span<const float> values, std::span<std::byte> bytes) {
  check_sizes(type, values.size(), bytes.size());
  const std::size_t step = block_bytes(type);
  switch (type) {
    case GgmlType::kF32:
      if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
      break;
    case GgmlType::kF16:
      for (std::size_t i = 0; i < values.size(); ++i) put(to_f16(values[i]), &bytes[i * step]);
      break;
    case GgmlType::kBF16:
      for (std::size_t i = 0; i < values.size(); ++i) put(to_bf16(values[i]), &bytes[i * step]);
      break;
    case GgmlType::kQ8_0:
      for (std::size_t i = 0; i < values.size() / kBlock; ++i) encode_q8(&values[i * kBlock], &bytes[i * step]);
      break;
    case GgmlType::kQ4_0:
      for (std::size_t i = 0; i < values.size() / kBlock; ++i) encode_q4(&values[i * kBlock], &bytes[i * step]);
      break;
  }
}

void decode_values(GgmlType type, std::span<const std::byte> bytes, std::span<float> values) {
  check_sizes(type, values.size(), bytes.size());
  const std::size_t step = block_bytes(type);
  switch (type) {
    case GgmlType::kF32:
      if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
      break;
    case GgmlType::kF16:
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = from_f16(get(&bytes[i * step]));
      break;
    case GgmlType::kBF16:
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = from_bf16(get(&bytes[i * step]));
      break;
    case GgmlType::kQ8_0:
      for (std::size_t i = 0; i < values.size() / kBlock; ++i) decode_q8(&bytes[i * step], &values[i * kBlock]);
      break;
    case GgmlType::kQ4_0:
      for (std::size_t i = 0; i < values.size() / kBlock; ++i) decode_q4(&bytes[i * step], &values[i * kBlock]);
      break;
  }
}

}  // namespace lowrank::formats
