#include "lowrank/recipes/run/memory.h"

#include <algorithm>

namespace lowrank::recipes {

std::int64_t largest_micro_batch(const data::Plan& plan, const std::vector<std::int64_t>& lengths) {
  std::int64_t most = 0;
  for (std::int64_t step = 0; step < std::min<std::int64_t>(plan.steps(), plan.steps_per_epoch()); ++step) {
    for (const auto& micro : plan.micro_batches(step)) {
      std::int64_t tokens = 0;
      for (const std::uint32_t i : micro) tokens += lengths[i];
      most = std::max(most, tokens);
    }
  }
  return most;
}

std::uint64_t activation_bytes(const models::DecoderConfig& config, std::int64_t tokens, at::ScalarType dtype) {
  return static_cast<std::uint64_t>(tokens * config.kept_per_token()) * (dtype == at::kBFloat16 ? 2 : 4);
}

}  // namespace lowrank::recipes
