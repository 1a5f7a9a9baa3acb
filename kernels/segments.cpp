#include "lowrank/kernels/segments.h"

namespace lowrank::kernels {

Segments Segments::of_lengths(const std::vector<std::int64_t>& lengths) {
  Segments s;
  s.q_offsets.reserve(lengths.size() + 1);
  s.q_offsets.push_back(0);
  for (const std::int64_t n : lengths) s.q_offsets.push_back(s.q_offsets.back() + n);
  s.k_offsets = s.q_offsets;
  return s;
}

std::vector<std::int64_t> Segments::positions() const {
  std::vector<std::int64_t> result;
  result.reserve(static_cast<std::size_t>(tokens()));
  for (std::int64_t s = 0; s < count(); ++s) {
    const std::int64_t first = k_length(s) - q_length(s);
    for (std::int64_t i = 0; i < q_length(s); ++i) result.push_back(first + i);
  }
  return result;
}

}  // namespace lowrank::kernels
