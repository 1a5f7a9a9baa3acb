// Dropout masks a row and a tile at a time, for the ops that drop while they work on a tile.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

namespace lowrank::kernels {

/// Where a dropped tensor stands in the run; the arguments of apply_dropout.
struct DropoutPlace {
  double p = 0;
  std::array<std::uint32_t, 2> key{};
  std::uint64_t step = 0;
  const std::int64_t* token_in_step = nullptr;
};

/// keep[i] = 0 where column j = first + i of this token is dropped, else 1; first is a multiple of 4. Column j takes
/// word j % 4 of the Philox4x32-10 block (counter {j / 4, token, step low, step high}, key) and is dropped when that
/// word is below p · 2^32.
void dropout_row(float* keep, std::int64_t first, std::int64_t columns, const DropoutPlace& place, std::int64_t token);

/// x [m, n], fp32, fp64 or bf16 with unit column stride, dropped in place by one thread: its rows are rows row... of
/// the step's stream, its columns first_column...
void drop_tile(const at::Tensor& x, const DropoutPlace& place, std::int64_t row, std::int64_t first_column);

}  // namespace lowrank::kernels
