#include "lowrank/train/pairs.h"

namespace lowrank::train {

std::vector<std::int64_t> pair_lengths(const data::Dataset& pairs) {
  std::vector<std::int64_t> lengths;
  for (std::size_t i = 0; i + 1 < pairs.examples.size(); i += 2) {
    lengths.push_back(static_cast<std::int64_t>(pairs.examples[i].ids.size() + pairs.examples[i + 1].ids.size()));
  }
  return lengths;
}

std::vector<std::uint32_t> both_sides(const std::vector<std::uint32_t>& pairs) {
  std::vector<std::uint32_t> examples;
  examples.reserve(2 * pairs.size());
  for (const std::uint32_t pair : pairs) examples.insert(examples.end(), {2 * pair, 2 * pair + 1});
  return examples;
}

std::int64_t tokens_of(const std::vector<data::Example>& all, const std::vector<std::uint32_t>& which) {
  std::int64_t tokens = 0;
  for (const std::uint32_t i : which) tokens += static_cast<std::int64_t>(all[i].ids.size());
  return tokens;
}

}  // namespace lowrank::train
