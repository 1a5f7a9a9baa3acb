// The micro-kernels of products whose operands are bf16: one tile of the result, summed in fp32 by AMX or by AVX-512's dot
// products of pairs. Results of the two differ in the order of their sums, and are the same from run to run.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace lowrank::kernels::gemm {

using Bf16 = std::uint16_t;  // its bits

inline float widened(Bf16 x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x) << 16); }

inline constexpr std::int64_t kBf16Rows = 32, kBf16Columns = 32;  // of a tile
inline constexpr std::int64_t kBf16Steps = 32;                    // what is summed comes in so many steps

/// Σ over k steps (a multiple of kBf16Steps) of a[i · a_row + k] b[k, j]; b is a panel: pairs of steps, [k / 2][kBf16Columns][2].
struct Bf16Range {
  std::int64_t k = 0;
  const Bf16* a = nullptr;
  std::int64_t a_row = 0;
  const Bf16* b = nullptr;
};

struct Bf16Kernel {
  const char* name;
  /// Around the tiles that a thread computes.
  void (*begin)();
  void (*end)();
  /// c [kBf16Rows, kBf16Columns], rows c_step floats apart, = or += the sums over all ranges.
  void (*tile)(const Bf16Range* ranges, std::int64_t count, float* c, std::int64_t c_step, bool accumulate);
  /// A panel of `n` columns and `count` steps, with zeros up to whole tiles: from a matrix whose steps are `step` elements
  /// apart and its columns neighbours, or the other way round.
  void (*pack_steps)(const Bf16* b, std::int64_t step, std::int64_t n, std::int64_t count, Bf16* to);
  void (*pack_columns)(const Bf16* b, std::int64_t step, std::int64_t n, std::int64_t count, Bf16* to);
  /// to [rows, columns] = bf16(c + bias), rounded to nearest even; bias of the columns, null: none.
  void (*store)(const float* c, std::int64_t rows, std::int64_t columns, const float* bias, Bf16* to, std::int64_t to_step);
  /// to[i] = bf16(scale · x[i]), rounded likewise.
  void (*round)(const float* x, std::int64_t n, float scale, Bf16* to);
};

/// Those that this CPU and build have, the fastest first.
const std::vector<const Bf16Kernel*>& bf16_kernels();
/// The one in force in the process: the fastest, where it is faster than fp32's, unless LOWRANK_INSTRUCTION_SET names another
/// ("amx", "avx512_bf16"; what is below has none). Null: none.
const Bf16Kernel* bf16_kernel();
/// For tests: null takes none.
void force_bf16_kernel(const Bf16Kernel* kernel);

}  // namespace lowrank::kernels::gemm
