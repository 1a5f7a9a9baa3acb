// Sums over flat fp32 buffers in a fixed order in double: LibTorch's own full reductions depend on the thread count.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace lowrank::train {

/// Elements a partial sum covers; fixed, so that the order of additions depends on the length alone.
inline constexpr std::int64_t kReductionChunk = 1 << 14;

/// Σ term(x[i]). Eight running sums a chunk (they vectorise), added in order; then the chunks in order.
template <typename Term>
double ordered_sum(const float* x, std::int64_t n, Term term) {
  const std::int64_t chunks = (n + kReductionChunk - 1) / kReductionChunk;
  std::vector<double> partial(static_cast<std::size_t>(chunks), 0.0);
  at::parallel_for(0, chunks, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t c = first; c < last; ++c) {
      const std::int64_t begin = c * kReductionChunk, end = std::min(n, begin + kReductionChunk);
      double lane[8] = {};
      std::int64_t i = begin;
      for (; i + 8 <= end; i += 8) {
        for (int k = 0; k < 8; ++k) lane[k] += term(x[i + k]);
      }
      double sum = 0;
      for (const double value : lane) sum += value;
      for (; i < end; ++i) sum += term(x[i]);
      partial[static_cast<std::size_t>(c)] = sum;
    }
  });
  double total = 0;
  for (const double value : partial) total += value;
  return total;
}

/// f(i) for every i of [0, n), in parallel; f touches element i alone.
template <typename F>
void for_each_element(std::int64_t n, F f) {
  at::parallel_for(0, n, kReductionChunk, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) f(i);
  });
}

}  // namespace lowrank::train
