#include "lowrank/recipes/run/memory.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/memory.h"
#include "lowrank/core/text.h"

namespace lowrank::recipes {

std::uint64_t trained_bytes(std::int64_t parameters) { return 16 * static_cast<std::uint64_t>(parameters); }

void refuse_beyond_memory(std::uint64_t need, const std::string& what, const std::string& remedy) {
  const auto have = core::available_memory();
  if (!have || need <= *have + *have / 10) return;
  throw IoError(fmt::format("this will not fit into memory: {} take about {}, and {} are left; {}, or raise the limit", what,
                            core::format_bytes(need), core::format_bytes(*have), remedy));
}

}  // namespace lowrank::recipes
