// The element types of safetensors files.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace lowrank::formats {

/// In the order of alignment by which the reference writer sorts.
enum class DType { kBool, kU8, kI8, kF8E5M2, kF8E4M3, kI16, kU16, kF16, kBF16, kI32, kU32, kF32, kF64, kI64, kU64 };

int dtype_bytes(DType dtype);
std::string_view dtype_name(DType dtype);  // as in the header: "BF16"
std::optional<DType> dtype_from_name(std::string_view name);

/// Bytes of a tensor; nullopt when an extent is negative or a signed 64-bit number does not hold them.
std::optional<std::uint64_t> tensor_bytes(DType dtype, const std::vector<std::int64_t>& shape);

}  // namespace lowrank::formats
