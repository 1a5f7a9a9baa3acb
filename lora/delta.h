// ΔW = s·B A and its sum with the base: the one place that computes them, so that a merged file, a merged slot and the
// proof of a merge agree bit for bit.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lowrank/lora/linear_slot.h"

namespace lowrank::lora {

/// Rows [begin, end) of s·(B A), or of s·(B A − B0 A0), fp32 [end - begin, in]. Each element is the sum over the rank
/// in its order, in fp32, times s: the same for any number of threads and any cut into rows.
at::Tensor delta_rows(const LoraMatrices& lora, std::int64_t begin, std::int64_t end);

/// round(W + ΔW), with a magnitude round((m/n)∘(W + ΔW)), n the norms by row, from W's rows [begin, end) of a float
/// dtype: in fp32 (fp64 for fp64), rounded once to that dtype.
at::Tensor merged_rows(const at::Tensor& rows, const LoraMatrices& lora, std::int64_t begin, std::int64_t end);

/// m/n of a magnitude [out], n the norms of W + ΔW by row, as merged_rows has it; undefined where there is none.
at::Tensor merge_gain(const kernels::BaseWeight& weight, const LoraMatrices& lora);

/// The same numbers as merged_rows from W's columns [begin, end) [out, end - begin] and merge_gain's result.
at::Tensor merged_columns(const at::Tensor& columns, const LoraMatrices& lora, std::int64_t begin, std::int64_t end,
                          const at::Tensor& gain);

/// Rows at a time for a weight with so many columns: blocks of a few megabytes.
std::int64_t rows_per_block(std::int64_t columns);

}  // namespace lowrank::lora
