// The micro-kernels of our own products: one tile of the result, formed in registers. Compiled once per instruction set
// (micro.cpp) and chosen as the program runs. An element is one chain of multiply-adds over k in its order, so that its
// bytes depend neither on the tile it falls into nor, where there are fused multiply-adds, on the instruction set.
#pragma once

#include <cstdint>

#include "lowrank/kernels/weight_codes.h"

namespace lowrank::kernels::gemm {

/// Instruction sets with a kernel of their own. kDetected: the widest that this CPU has.
enum class InstructionSet : std::int8_t { kDetected, kBaseline, kAvx2, kAvx512 };
const char* name(InstructionSet set);
/// The widest that this CPU and build have; never kDetected.
InstructionSet widest_instruction_set();
/// Whether products run with this one here.
bool has_instruction_set(InstructionSet set);
/// What is in force in the process: kDetected's choice, unless force_instruction_set or the environment's
/// LOWRANK_INSTRUCTION_SET (baseline, avx2, avx512) says less. For tests and benches. InternalError where this CPU
/// lacks it.
InstructionSet instruction_set();
void force_instruction_set(InstructionSet set);

/// Σ over `k` steps of a[i · a_row] b[j]: a moves on by a_step and b by b_step floats a step. One of a_row and a_step
/// is 1.
struct Range {
  std::int64_t k = 0;
  const float* a = nullptr;
  const float* b = nullptr;
  std::int64_t a_step = 0, b_step = 0, a_row = 1;
};

/// c[i, j] (+)= scale · (Σ over both ranges) + bias[j] for i < rows, j < columns, in this order.
struct Tile {
  Range first, second;
  float* c = nullptr;
  std::int64_t c_step = 0;       // floats from row to row
  const float* bias = nullptr;   // of the tile's columns; null: none
  float scale = 1;
  bool accumulate = false;
  int rows = 0, columns = 0;     // at most MicroKernel's
};

enum class Element : std::int8_t { kFloat, kBFloat16, kHalf };

/// A matrix as it lies: element (i, j) at data[i · row_step + j · column_step], one of the steps 1.
struct Source {
  const void* data = nullptr;
  Element element = Element::kFloat;
  std::int64_t row_step = 0, column_step = 0;
};

/// Dot products of a few rows with rows of weights that lie as they were stored: y[i · y_step + o] (+)= scale ·
/// Σ_k x[i · x_step + k] w[o, k] for i < rows and o < columns, k < inner. A sum is kDotLanes chains, k going to the
/// k mod kDotLanes-th, added up in halves: the same whatever else is asked for beside it.
struct Dots {
  const float* x = nullptr;
  std::int64_t x_step = 0;
  const void* w = nullptr;
  Element element = Element::kFloat;
  std::int64_t w_step = 0;
  WeightCodes codes = {};  // instead of w and what belongs to it: its rows from `row` on
  std::int64_t row = 0;
  float* y = nullptr;
  std::int64_t y_step = 0;
  std::int64_t rows = 0, columns = 0, inner = 0;
  float scale = 1;
  bool accumulate = false;
};
inline constexpr int kDotLanes = 32;

struct MicroKernel {
  InstructionSet set;
  int rows, columns;  // of a whole tile
  int lanes;          // of a vector

  void (*tile)(const Tile& tile);
  /// to[k · step + i] = scale · x[i, k] for i < n and k < count, zero for n <= i < width: a panel of rows, step by step.
  void (*pack)(const Source& x, std::int64_t n, std::int64_t count, float scale, float* to, std::int64_t width,
               std::int64_t step);
  void (*dots)(const Dots& dots);
  /// to[i] = bf16(x[i]), rounded to nearest even.
  void (*round_row)(const float* x, std::int64_t n, std::uint16_t* to);
  /// `n` rounds of kFmaChains independent multiply-adds of vectors, nothing else: the machine's limit. Gives their sum.
  float (*multiply_adds)(std::int64_t n);
};

inline constexpr int kFmaChains = 12;

/// Of the instruction set in force.
const MicroKernel& micro_kernel();

}  // namespace lowrank::kernels::gemm
