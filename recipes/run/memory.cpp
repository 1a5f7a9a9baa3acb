#include "lowrank/recipes/run/memory.h"

#include <algorithm>
#include <fstream>
#include <string>

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
  // Of a token: the layer's streams (6 widths), q, k, v, and three of the MLP's width.
  const std::int64_t widths = 6 * config.hidden_size + 2 * config.heads * config.head_dim +
                              2 * config.kv_heads * config.head_dim + 3 * config.intermediate_size;
  return static_cast<std::uint64_t>(tokens * config.layers * widths) * (dtype == at::kBFloat16 ? 2 : 4);
}

std::optional<std::uint64_t> available_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string key, rest; file >> key;) {
    std::uint64_t kilobytes = 0;
    if (key == "MemAvailable:" && file >> kilobytes) return kilobytes * 1024;
    std::getline(file, rest);
  }
  return std::nullopt;
}

}  // namespace lowrank::recipes
