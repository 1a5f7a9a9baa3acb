#include "lowrank/data/batch_torch.h"

#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/kernels/host.h"

namespace lowrank::data {
namespace {

constexpr std::int64_t kNotLearned = -100;

}  // namespace

Batch make_batch(const Examples& all, std::span<const std::uint32_t> which, std::int64_t first_token) {
  std::vector<Example> examples;
  std::vector<std::int64_t> lengths;
  std::int64_t tokens = 0;
  for (const std::uint32_t index : which) {
    if (index < all.size()) examples.push_back(all[index]);
    if (index >= all.size() || examples.back().learned.size() != examples.back().ids.size()) {
      throw InternalError("make_batch: example " + std::to_string(index) + " of " + std::to_string(all.size()) +
                          " does not exist, or its mask is not as long as its ids");
    }
    lengths.push_back(static_cast<std::int64_t>(examples.back().ids.size()));
    tokens += lengths.back();
  }

  Batch batch;
  batch.segments = kernels::Segments::of_lengths(lengths);
  batch.token_in_step.resize(static_cast<std::size_t>(tokens));
  std::vector<std::int64_t> ids, labels;
  std::int64_t t = 0;
  for (const Example& example : std::as_const(examples)) {
    for (std::size_t i = 0; i < example.ids.size(); ++i, ++t) {
      const bool learned = i + 1 < example.ids.size() && example.learned[i + 1] != 0;
      ids.push_back(example.ids[i]);
      labels.push_back(learned ? example.ids[i + 1] : kNotLearned);
      batch.counted += learned;
      batch.token_in_step[static_cast<std::size_t>(t)] = first_token + t;
    }
  }
  batch.ids = kernels::from_host<std::int64_t>(ids, {tokens});
  batch.labels = kernels::from_host<std::int64_t>(labels, {tokens});
  return batch;
}

std::vector<std::uint32_t> examples_from(const Examples& all, std::size_t first, std::int64_t max_tokens) {
  std::vector<std::uint32_t> which;
  std::int64_t tokens = 0;
  for (std::size_t next = first; next < all.size(); ++next) {
    tokens += static_cast<std::int64_t>(all.length(next));
    if (!which.empty() && tokens > max_tokens) break;
    which.push_back(static_cast<std::uint32_t>(next));
  }
  return which;
}

}  // namespace lowrank::data
