#include "lowrank/lora/combine.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/lora/combine_matrices.h"
#include "lowrank/lora/match.h"
#include "lowrank/lora/peft_names.h"

namespace lowrank::lora {
namespace {

bool prunes(const std::string& method) {
  return method.starts_with("ties") || method.starts_with("dare") || method.starts_with("magnitude_prune");
}

// What its adapters are called in messages.
std::string name_of(const Adapter& adapter) {
  return adapter.directory().empty() ? adapter.name() : adapter.directory().string();
}

void refuse_other_forms(const Adapter& adapter) {
  const auto refuse = [&](const std::string& what) {
    throw ConfigError(fmt::format("{} has {}, of which there is no weighted sum; merge such adapters into the model one "
                                  "after the other",
                                  name_of(adapter), what));
  };
  if (adapter.config().use_dora) refuse("DoRA's magnitudes");
  if (!adapter.config().alora_invocation_tokens.empty()) refuse("tokens that it acts on alone (alora_invocation_tokens)");
  if (!adapter.whole().empty()) refuse("a trained copy of " + adapter.whole().front()->path());
  if (!adapter.token_rows().empty()) refuse("rows of its own in " + adapter.token_rows().front().path);
  if (adapter.config().lora_bias) refuse("biases beside B (lora_bias)");
  if (!adapter.experts().empty()) refuse("matrices on the experts' parameters (PEFT refuses these too)");
  if (adapter.keeps_tied()) refuse("an update of the embedding that the tied head shares");
}

void check(const std::vector<const Adapter*>& adapters, const CombineOptions& options) {
  const auto& known = combine_methods();
  if (std::find(known.begin(), known.end(), options.method) == known.end())
    throw ConfigError(fmt::format("no combination is called '{}'; known are {}{}", core::printable(options.method),
                                  fmt::join(known, ", "), core::did_you_mean(options.method, known)));
  if (options.weights.size() != adapters.size())
    throw ConfigError(fmt::format("`weights` has {} for {} adapters; give one for each",
                                  core::counted(static_cast<std::int64_t>(options.weights.size()), "value"), adapters.size()));
  for (const double weight : options.weights)
    if (!std::isfinite(weight)) throw ConfigError("one of `weights` is not finite");
  if (prunes(options.method) && !options.density)
    throw ConfigError(fmt::format("{} keeps a share of the values: give `density`, such as 0.5", options.method));
  if (!prunes(options.method) && options.density)
    throw ConfigError(fmt::format("`density` is for ties, dare and magnitude_prune; {} keeps all values", options.method));
  if (options.density && !(*options.density > 0 && *options.density <= 1))
    throw ConfigError(fmt::format("`density` is {}; it must be above 0 and at most 1", *options.density));
  if (options.svd_rank != 0 && !options.method.ends_with("svd"))
    throw ConfigError(fmt::format("a rank is chosen by svd only; {} gives its own", options.method));
  for (const Adapter* adapter : adapters) refuse_other_forms(*adapter);
}

// The largest rank that an adapter may have anywhere, as PEFT counts it.
std::int64_t largest_rank(const LoraConfig& given) {
  const LoraConfig config = saved_form(given);
  std::int64_t rank = config.r;
  for (const auto& [key, r] : config.rank_pattern) rank = std::max(rank, r);
  return rank;
}

std::int64_t rank_of_result(const std::vector<const Adapter*>& adapters, const CombineOptions& options) {
  std::vector<std::int64_t> ranks;
  for (const Adapter* adapter : adapters) ranks.push_back(largest_rank(adapter->config()));
  if (options.method == "cat") {
    std::int64_t sum = 0;
    for (const std::int64_t r : ranks) sum += r;
    return sum;
  }
  if (options.method.ends_with("svd"))
    return options.svd_rank != 0 ? options.svd_rank : *std::max_element(ranks.begin(), ranks.end());
  if (std::set<std::int64_t>(ranks.begin(), ranks.end()).size() > 1)
    throw ConfigError(fmt::format("{} takes A and B by themselves, so that all adapters must have one rank, and these "
                                  "have {}; cat and svd take any",
                                  options.method, fmt::join(ranks, ", ")));
  return ranks.front();
}

}  // namespace

const std::vector<std::string>& combine_methods() {
  static const std::vector<std::string> names = {"cat",         "linear",        "svd",      "ties",
                                                 "ties_svd",    "dare_linear",   "dare_ties", "dare_linear_svd",
                                                 "dare_ties_svd", "magnitude_prune", "magnitude_prune_svd"};
  return names;
}

CombinedAdapter combine(const SlotTable& table, const std::vector<const Adapter*>& adapters,
                        const CombineOptions& options) {
  const at::NoGradGuard no_grad;
  check(adapters, options);
  for (const Adapter* const adapter : adapters) adapter->require_text_alone("a combination");
  const std::int64_t r = rank_of_result(adapters, options);
  const at::Generator generator = at::detail::createCPUGenerator(options.seed);

  CombinedAdapter result;
  std::vector<std::string> targets;
  // In the order in which PEFT goes through the modules: dare's masks follow each other.
  const auto add = [&](const std::string& path, bool embedding, bool turned, const auto& matrices_of) {
    std::vector<LoraMatrices> parts;
    std::vector<double> weights;
    for (std::size_t i = 0; i < adapters.size(); ++i) {
      const LoraMatrices* const found = matrices_of(*adapters[i]);
      if (found == nullptr) continue;
      parts.push_back(plain(*found));
      weights.push_back(options.weights[i]);
    }
    if (parts.empty()) return;
    const LoraMatrices sum = combine_matrices(path, turned, parts, weights, r, options, generator);
    targets.push_back(path);
    result.tensors.push_back({peft_name(path, LoraPart::kA, embedding), sum.a.contiguous()});
    result.tensors.push_back({peft_name(path, LoraPart::kB, embedding), sum.b.contiguous()});
  };
  if (table.embedding != nullptr)
    add(table.embedding->path(), true, true, [&](const Adapter& adapter) -> const LoraMatrices* {
      return adapter.adapts_embedding() ? &adapter.embedding()->lora(adapter.name()) : nullptr;
    });
  for (const LinearSlot& slot : table.slots)
    add(slot->path(), false, slot->stored().transposed, [&](const Adapter& adapter) -> const LoraMatrices* {
      return slot->adapted(adapter.name()) ? &adapter.at(slot) : nullptr;
    });
  if (targets.empty()) throw ConfigError("the adapters change no layer of this model");

  LoraConfig& config = result.config;
  config.r = r;
  config.lora_alpha = static_cast<double>(r);  // a scale of 1
  config.target_modules = targets;
  config.base_model_name_or_path = table.base_name;
  config.task_type = adapters.front()->config().task_type;
  config.fan_in_fan_out = adapters.front()->config().fan_in_fan_out;
  std::vector<std::string> adaptable = slot_paths(table);
  if (table.embedding != nullptr) adaptable.insert(adaptable.begin(), table.embedding->path());
  config = with_portable_targets(std::move(config), targets, adaptable, table.others, table.head);
  return result;
}

}  // namespace lowrank::lora
