// Products of activations with weights by our own micro-kernels, in fp32 from whatever storage: panels are packed as
// they are used, straight into the kernels' layout. Results do not depend on the number of threads, on the number of
// rows, or on how the work is cut: an element's sum is cut at multiples of a constant alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "lowrank/kernels/base_weight.h"
#include "lowrank/kernels/dropout_mask.h"
#include "lowrank/kernels/gemm/bf16_kernel.h"

namespace lowrank::kernels::gemm {

class PanelStore;

/// Below so many rows packing a panel costs more than it saves.
inline constexpr std::int64_t kFewestRows = 32;
/// Whether products of `rows` rows whose operands are made `dtype` are formed here: fp32, by the path in force, on the
/// CPU, and enough rows that a packed panel pays.
bool takes(at::ScalarType dtype, std::int64_t rows);
/// Whether they take operands of this dtype as bf16 (bf16_product.h): a left operand in bf16, by the path in force, on a CPU with
/// instructions for it.
bool in_bf16(at::ScalarType left);
/// Whether products of a left operand in fp32 with weights stored in this dtype are formed of bf16 parts: bf16, by the same path, on a CPU
/// where that is faster. Of weights in fp32 it takes twice the products and is not.
bool in_parts(at::ScalarType left, at::ScalarType stored);

/// The right operand B [K, N] of a product: columns of it are packed as they are used.
class Right {
 public:
  static Right of(BaseWeight w);             // B = W: K = out, N = in
  static Right of_transposed(BaseWeight w);  // B = Wᵀ: K = in, N = out
  static Right of_matrix(at::Tensor b, double scale = 1);  // B = scale · b, fp32 or bf16, one of its strides 1

  /// Its steps [begin, begin + n).
  Right steps(std::int64_t begin, std::int64_t n) const;

  std::int64_t inner() const { return inner_; }
  std::int64_t columns() const { return columns_; }
  float scale() const { return scale_; }
  /// B[:, begin, begin + n) before it is scaled, as it lies or in fp32; its steps begin at row first().
  at::Tensor at(std::int64_t begin, std::int64_t n) const;
  std::int64_t first() const { return first_; }
  /// The panels that `store` keeps of it, from its first step on, those of another column panel `step` floats on; null:
  /// none.
  const float* kept(PanelStore& store, std::int64_t* step) const;
  /// The same in so many parts of bf16, of a right operand with all of its steps; null: none.
  const Bf16* kept_bf16(PanelStore& store, std::int64_t parts) const;
  /// The dtype that at() gives.
  at::ScalarType stored() const;
  /// How many parts in bf16 its values need, of at most `most`.
  std::int64_t bf16_parts(std::int64_t most) const { return stored() == at::kBFloat16 && scale_ == 1 ? 1 : most; }

 private:
  BaseWeight weight_;
  at::Tensor matrix_;
  bool transposed_ = false;
  float scale_ = 1;
  std::int64_t first_ = 0, inner_ = 0, columns_ = 0;
};

/// Part of the left operand: x [M, k] fp32 or bf16, its steps from `offset` on. What a side or a term multiplies is
/// inside one part, or is one side's.
struct LeftPart {
  at::Tensor x;
  std::int64_t offset = 0;
  bool rounds = false;  // fp32 may be made bf16, where that is multiplied faster
};

/// A thin product beside: out [M, r] fp32 with unit column stride = left[:, from, from + K) · factor [K, r] (drop(x) where there is dropout), and
/// left's steps [at, at + r) are it.
struct Side {
  at::Tensor factor, out;
  std::int64_t from = 0, at = 0;
  DropoutPlace dropout = {};
};

/// left[:, offset, offset + K) · right. Of a target's first term, which others follow: its sum, rounded, becomes
/// `product` [M, N] (fp32 or bf16, unit column stride), and is multiplied by `gain` (fp32 [N], contiguous) by columns.
/// Undefined: neither.
struct Term {
  std::int64_t offset = 0;
  Right right;
  at::Tensor gain = {}, product = {};
};

/// out [M, N] fp32 or bf16 (+)= Σ terms + bias (fp32 [N], undefined: none), added up in this order and rounded once;
/// only fp32 accumulates.
struct Target {
  at::Tensor out;
  std::vector<Term> terms;
  at::Tensor bias = {};
  bool accumulate = false;
};

/// All sides, then all targets, over one left operand of `inner` steps. Targets may be none.
void multiply(std::int64_t rows, std::int64_t inner, const std::vector<LeftPart>& left, const std::vector<Side>& sides,
              const std::vector<Target>& targets);

/// out [M, N] fp32 = x [M, K] · right. A long sum passes over x in parts, whose panels are small. `rounds`: as LeftPart has it.
void multiply(const at::Tensor& out, const at::Tensor& x, const Right& right, bool rounds = false);

/// out [r, N] or, `transposed`, out [N, r], fp32 = scale · uᵀ y for u [M, r] fp32 and y [M, N] fp32 or bf16: the
/// gradients of thin matrices, M long.
void multiply_outer(const at::Tensor& out, const at::Tensor& u, const at::Tensor& y, double scale, bool transposed);

}  // namespace lowrank::kernels::gemm
