// The micro-kernels of products whose operands are bf16: one tile of the result, summed in fp32 by AMX or by AVX-512's dot
// products of pairs. Results of the two differ in the order of their sums, and are the same from run to run. An operand in fp32 is the
// sum of three in bf16, exactly: of the nine products of such two, those of 2^-26 of the largest and below are left out, which is less
// than fp32 itself rounds (Henry, Tang, Heinecke: Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision
// Computations, 2019).
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
/// Operands in parts, the largest first and each `a_apart` (`b_apart`) elements behind the one before: Σ over the products of part p and
/// part q with p + q below the larger number of parts, the small ones first.
struct Bf16Range {
  std::int64_t k = 0;
  const Bf16* a = nullptr;
  std::int64_t a_row = 0;
  const Bf16* b = nullptr;
  std::int64_t a_parts = 1, a_apart = 0, b_parts = 1, b_apart = 0;
};

inline constexpr std::int64_t kFloatParts = 3;  // of an operand in fp32

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
  /// scale · x[i] as the sum of `parts` numbers, to[p · apart + i], each the nearest (even) to what the ones before leave: one is x rounded,
  /// three are all its bits where the exponent allows. What is not finite stays so.
  void (*split)(const float* x, std::int64_t n, float scale, Bf16* to, std::int64_t apart, std::int64_t parts);
  /// Whether products of fp32 in parts are faster than fp32's own.
  bool multiplies_parts;
};

/// Those that this CPU and build have, the fastest first.
const std::vector<const Bf16Kernel*>& bf16_kernels();
/// The one in force in the process: the fastest, where it is faster than fp32's, unless LOWRANK_INSTRUCTION_SET names another
/// ("amx", "avx512_bf16"; what is below has none). Null: none.
const Bf16Kernel* bf16_kernel();
/// For tests: null takes none.
void force_bf16_kernel(const Bf16Kernel* kernel);

}  // namespace lowrank::kernels::gemm
