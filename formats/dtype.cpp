#include "lowrank/formats/dtype.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace lowrank::formats {

namespace {

struct Row {
  std::string_view name;
  int bytes;
};

// In the order of the enumeration, which is the reference writer's order of alignment.
constexpr std::array<Row, 15> kRows = {{{"BOOL", 1},
                                        {"U8", 1},
                                        {"I8", 1},
                                        {"F8_E5M2", 1},
                                        {"F8_E4M3", 1},
                                        {"I16", 2},
                                        {"U16", 2},
                                        {"F16", 2},
                                        {"BF16", 2},
                                        {"I32", 4},
                                        {"U32", 4},
                                        {"F32", 4},
                                        {"F64", 8},
                                        {"I64", 8},
                                        {"U64", 8}}};

}  // namespace

int dtype_bytes(DType dtype) { return kRows[static_cast<std::size_t>(dtype)].bytes; }

std::string_view dtype_name(DType dtype) { return kRows[static_cast<std::size_t>(dtype)].name; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

std::optional<std::uint64_t> tensor_bytes(DType dtype, const std::vector<std::int64_t>& shape) {
  // A zero must not hide an overflow of the other extents: strides are products of those.
  auto bytes = static_cast<std::int64_t>(dtype_bytes(dtype));
  bool empty = false;
  for (const std::int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(bytes, std::max<std::int64_t>(extent, 1), &bytes)) return std::nullopt;
    empty = empty || extent == 0;
  }
  return empty ? 0 : static_cast<std::uint64_t>(bytes);
}

}  // namespace lowrank::formats
