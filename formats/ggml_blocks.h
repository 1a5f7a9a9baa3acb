// The element types of GGUF files: F32, F16, BF16, and blocks of 32 values of a row that share a scale. Torch-free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace lowrank::formats {

/// Element types, numbered as in the file.
enum class GgmlType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,  // a block is a scale in F16 and 32 numbers of 4 bits: 18 bytes
  kQ8_0 = 8,  // a block is a scale in F16 and 32 numbers of 8 bits: 34 bytes
  kBF16 = 30,
};

/// "Q8_0".
std::string_view ggml_name(GgmlType type);

/// Values of a block; 1 where each stands for itself. The rows of a tensor have to be multiples of it.
std::int64_t ggml_block(GgmlType type);

/// Bytes of a tensor. InternalError where its rows are no whole blocks.
std::uint64_t ggml_bytes(GgmlType type, const std::vector<std::int64_t>& shape);

/// Whole rows of finite fp32 values in this type, to `bytes`, which has their size. F16 and BF16 are rounded to the
/// nearest, ties to even; blocks are those of llama.cpp's quantiser, byte for byte (quantize_row_q8_0_ref,
/// quantize_row_q4_0_ref).
void encode_values(GgmlType type, std::span<const float> values, std::span<std::byte> bytes);

/// What a program that reads them computes with.
void decode_values(GgmlType type, std::span<const std::byte> bytes, std::span<float> values);

}  // namespace lowrank::formats
