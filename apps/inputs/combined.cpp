#include "lowrank/apps/inputs/combined.h"

#include <fmt/format.h>

#include <charconv>

#include "lowrank/core/error.h"

namespace lowrank::apps {

std::vector<OptionSpec> combine_options() {
  const char* const group = "Several adapters";
  return {
      {"combine", OptionType::kText, "METHOD", nullptr, group,
       "How several --adapter become one, by PEFT's names: cat (exactly their weighted sum), svd (the best of a rank), "
       "linear, ties, dare_linear, dare_ties, magnitude_prune (of A and B by themselves), or those with _svd behind",
       lora::combine_methods()},
      {"weights", OptionType::kText, "X,...", nullptr, group, "A weight for each adapter (default: 1 each)", {}},
      {"density", OptionType::kNumber, "F", nullptr, group, "Share of the values that ties, dare and magnitude_prune keep",
       {}, false, {{0, 1}}},
      {"svd-rank", OptionType::kInt, "N", nullptr, group, "Rank of svd's result (default: the adapters' largest)", {},
       false, {{1, 65536}}},
      {"majority-sign", OptionType::kText, "HOW", "total", group, "How ties elects a sign", {"total", "frequency"}},
      {"seed", OptionType::kInt, "N", core::Json(0), group, "Seed of dare's masks, as torch.manual_seed", {}},
      {"adapter-only", OptionType::kFlag, "", nullptr, group, "Write the combined adapter to --out, and no merged model", {}},
  };
}

bool combines(const Options& options) {
  const bool several = options.given("adapter") && options.texts("adapter").size() > 1;
  if (several && !options.given("combine"))
    options.fail("combine", fmt::format("is missing for several adapters; cat is exactly their weighted sum"));
  if (options.given("combine")) {
    if (!several) options.fail("combine", "is for several adapters; give --adapter more than once");
    return true;
  }
  for (const char* name : {"weights", "density", "svd-rank", "majority-sign", "seed", "adapter-only"})
    if (options.given(name)) options.fail(name, "is for several adapters and --combine");
  return false;
}

lora::CombineOptions combination_asked_for(const Options& options) {
  lora::CombineOptions result;
  result.method = options.text("combine");
  result.weights.assign(options.texts("adapter").size(), 1);
  if (options.given("weights")) {
    result.weights.clear();
    const std::string text = options.text("weights");
    const char* const end = text.data() + text.size();
    for (const char* at = text.data();; ++at) {
      double weight = 0;
      const auto [next, error] = std::from_chars(at, end, weight);
      if (error != std::errc() || (next != end && *next != ','))
        options.fail("weights", fmt::format("expected numbers such as 0.7,0.3, found '{}'", text));
      result.weights.push_back(weight);
      if (next == end) break;
      at = next;
    }
  }
  if (options.given("density")) result.density = options.number("density");
  if (options.given("svd-rank")) result.svd_rank = options.integer("svd-rank");
  result.sign_by_frequency = options.text("majority-sign") == "frequency";
  result.seed = static_cast<std::uint64_t>(options.integer("seed"));
  return result;
}

}  // namespace lowrank::apps
