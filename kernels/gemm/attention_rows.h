// Rows of scores between the products of attention_tiles.cpp and bf16_attention.cpp. Inside kernels/.
#pragma once

#include <cstdint>

#include "lowrank/kernels/gemm/attention_tiles.h"

namespace lowrank::kernels::gemm {

/// The keys [first, last) that queries [begin, end) see, `first` at the beginning of a panel of `width` keys.
struct Seen {
  std::int64_t first, last;
};
Seen seen(const AttentionHead& head, std::int64_t width, std::int64_t begin, std::int64_t end);

/// The first key of one query, counted from `first`.
std::int64_t first_key(const AttentionHead& head, std::int64_t i, std::int64_t first);

/// A row of scores becomes probabilities but for the factor 1 / *sum; `first` is the key of its first column. Gives its log-sum-exp.
float soften(const AttentionHead& head, std::int64_t i, std::int64_t first, std::int64_t columns, float* row, float* sum);

/// The backward pass of a row: scores become probabilities, and their gradients those of the scores.
void soften_backward(const AttentionHead& head, std::int64_t i, std::int64_t first, std::int64_t columns, float lse, float delta, float* row,
                     float* gradient);

}  // namespace lowrank::kernels::gemm
