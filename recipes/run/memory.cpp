#include "lowrank/recipes/run/memory.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/memory.h"
#include "lowrank/core/text.h"

namespace lowrank::recipes {

std::int64_t largest_micro_batch(const data::Plan& plan, const std::vector<std::int64_t>& lengths) {
  std::int64_t most = 0;
  for (std::int64_t step = 0; step < std::min<std::int64_t>(plan.steps(), plan.steps_per_epoch()); ++step) {
    for (int rank = 0; rank < plan.ranks(); ++rank) {
      for (const auto& micro : plan.micro_batches(step, rank)) {
        std::int64_t tokens = 0;
        for (const std::uint32_t i : micro) tokens += lengths[i];
        most = std::max(most, tokens);
      }
    }
  }
  return most;
}

std::uint64_t trained_bytes(std::int64_t parameters) { return 16 * static_cast<std::uint64_t>(parameters); }

void refuse_beyond_memory(std::uint64_t need, const std::string& what, const std::string& remedy) {
  const auto have = core::available_memory();
  if (!have || need <= *have + *have / 10) return;
  throw IoError(fmt::format("this will not fit into memory: {} take about {}, and {} are left; {}, or raise the limit", what,
                            core::format_bytes(need), core::format_bytes(*have), remedy));
}

}  // namespace lowrank::recipes
