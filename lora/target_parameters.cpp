#include "lowrank/lora/target_parameters.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/lora/pattern.h"
#include "lowrank/lora/peft_names.h"

namespace lowrank::lora {
namespace {

std::string last_of(const std::string& path) { return path.substr(path.rfind('.') + 1); }

bool ends_in(const std::string& path, const std::string& entry) { return path == entry || path.ends_with("." + entry); }

// A parameter and the names of the linear layers that it is made of.
struct Mapping {
  std::string parameter;
  std::vector<std::string> names;
};

// Of the experts, then of the routers.
std::vector<Mapping> mappings(const SlotTable& table) {
  std::vector<Mapping> result;
  const auto add = [&](const std::string& parameter, const std::vector<std::string>& names) {
    const bool known =
        std::any_of(result.begin(), result.end(), [&](const auto& m) { return m.parameter == parameter; });
    if (!known && !names.empty()) result.push_back({parameter, names});
  };
  for (const ExpertsSlot& slot : table.experts) add(slot->base().parameter, slot->base().parts);
  for (const LinearSlot& router : table.routers) add(last_of(router->path()) + ".weight", {last_of(router->path())});
  return result;
}

// Whether the config's target_modules name a layer of this name: in a list its end, by an expression a path inside the
// module that has the parameter.
bool names_layer(const LoraConfig& config, const std::string& name, const SlotTable& table) {
  if (const auto* list = std::get_if<std::vector<std::string>>(&config.target_modules))
    return std::any_of(list->begin(), list->end(), [&](const std::string& entry) { return ends_in(entry, name); });
  const Pattern pattern(Pattern::Kind::kFullMatch, std::get<std::string>(config.target_modules), "target_modules");
  for (const LinearSlot& router : table.routers)
    if (last_of(router->path()) == name && pattern.matches(router->path())) return true;
  return std::any_of(table.experts.begin(), table.experts.end(), [&](const ExpertsSlot& slot) {
    const auto& parts = slot->base().parts;
    return std::find(parts.begin(), parts.end(), name) != parts.end() &&
           (pattern.matches(slot->base().owner + "." + name) || pattern.matches(slot->path()));
  });
}

}  // namespace

std::vector<std::string> parameter_paths(const SlotTable& table) {
  return parameter_paths(table, [](const std::string& path) { return path; });
}

std::vector<std::string> parameter_paths(const SlotTable& table,
                                         const std::function<std::string(const std::string&)>& spelt) {
  std::vector<std::string> result;
  for (const LinearSlot& router : table.routers) result.push_back(spelt(router->path()) + ".weight");
  for (const ExpertsSlot& slot : table.experts) result.push_back(spelt(slot->path()));
  for (const LinearSlot& slot : table.slots)
    if (!slot->stored().transposed) result.push_back(spelt(slot->path()) + ".weight");
  return result;
}

std::string pattern_path(const LinearSlotImpl& slot, const SlotTable& table, const std::string& path,
                         const LoraConfig& config) {
  const bool router = std::any_of(table.routers.begin(), table.routers.end(),
                                  [&](const LinearSlot& one) { return one.get() == &slot; });
  const bool parameter = router || (!config.target_parameters.empty() &&
                                    !match_parameters(config.target_parameters, {path + ".weight"}).empty());
  return parameter ? path + ".weight" : path;
}

void check_named_once(const std::vector<std::string>& modules, const std::vector<std::string>& parameters) {
  for (const std::string& module : modules)
    if (std::find(parameters.begin(), parameters.end(), module + ".weight") != parameters.end())
      throw ConfigError(fmt::format("target_modules and target_parameters both take in {}, which one of them adapts; "
                                    "leave it out of the other",
                                    module));
}

std::vector<std::string> match_parameters(const std::vector<std::string>& entries,
                                          const std::vector<std::string>& paths, std::vector<std::string>* unused) {
  std::vector<std::string> result;
  std::set<std::string> used;
  for (const std::string& path : paths) {
    bool hit = false;
    for (const std::string& entry : entries) {
      if (!ends_in(path, entry)) continue;
      hit = true;
      used.insert(entry);
    }
    if (hit) result.push_back(path);
  }
  if (unused == nullptr) return result;
  for (const std::string& entry : entries)
    if (used.count(entry) == 0) unused->push_back(entry);
  return result;
}

bool means_parameter(const SlotTable& table, const std::string& name) {
  if (!table.converts_expert_targets) return false;
  for (const Mapping& mapping : mappings(table))
    if (std::find(mapping.names.begin(), mapping.names.end(), last_of(name)) != mapping.names.end()) return true;
  return false;
}

LoraConfig with_expert_targets(LoraConfig config, const SlotTable& table, bool also_linear) {
  if (!table.converts_expert_targets && !also_linear) return config;
  const bool all = config.all_linear();
  const auto add_parameter = [&](const std::string& parameter) {
    auto& list = config.target_parameters;
    if (std::find(list.begin(), list.end(), parameter) == list.end()) list.push_back(parameter);
  };
  for (const Mapping& mapping : mappings(table)) {
    const bool router = mapping.parameter.ends_with(".weight");
    std::vector<std::string> named, absent;
    for (const std::string& name : mapping.names) {
      const bool has = all ? !router : names_layer(config, name, table);
      (has ? named : absent).push_back(name);
    }
    if (named.empty()) continue;
    if (!absent.empty())
      throw ConfigError(
          fmt::format("target_modules names {} without {}: the experts of this model have them in one parameter, {}, "
                      "and PEFT adapts both or none; name both, or the parameter in target_parameters",
                      fmt::join(named, ", "), fmt::join(absent, ", "), mapping.parameter));
    add_parameter(mapping.parameter);
    const auto times = static_cast<std::int64_t>(named.size());
    if (times == 1) continue;
    const std::string key = fmt::format(R"(.*\.{})", mapping.parameter);  // PEFT's key
    const auto absent_in = [&](const auto& pattern) {
      return std::none_of(pattern.begin(), pattern.end(), [&](const auto& entry) { return entry.first == key; });
    };
    if (absent_in(config.rank_pattern)) config.rank_pattern.emplace_back(key, config.r * times);
    if (absent_in(config.alpha_pattern)) {
      config.alpha_pattern.emplace_back(key, config.lora_alpha * static_cast<double>(times));
    }
  }
  auto* list = std::get_if<std::vector<std::string>>(&config.target_modules);
  if (list != nullptr && !all && !also_linear)
    std::erase_if(*list, [&](const std::string& entry) { return means_parameter(table, entry); });
  return config;
}

Match targets_in(const SlotTable& table, const LoraConfig& config) {
  const LoraConfig read = with_expert_targets(config, table);
  Match result = match(read, adaptable_paths(table, read), table.head);
  const std::vector<std::string> parameters = match_parameters(read.target_parameters, parameter_paths(table));
  result.modules.insert(result.modules.end(), parameters.begin(), parameters.end());
  return result;
}

void check_parameter_config(const LoraConfig& config) {
  const std::string names = core::printable(fmt::format("{}", fmt::join(config.target_parameters, ", ")), 200);
  const auto refuse = [&](const std::string& what, const std::string& why) {
    throw ConfigError(fmt::format("{} does not go with adapters on the parameters {}: {}", what, names, why));
  };
  if (config.lora_dropout > 0)
    refuse(fmt::format("lora_dropout {}", config.lora_dropout),
           "PEFT adds B A to the parameter itself, whose input cannot be dropped; set the dropout to 0, or leave them "
           "out of the targets");
  if (config.lora_bias) refuse("lora_bias", "PEFT refuses it; leave them out of the targets");
  if (config.use_dora) refuse("use_dora", "PEFT refuses it; leave them out of the targets");
  if (config.init_lora_weights != "default" && config.init_lora_weights != "gaussian")
    refuse(fmt::format("init_lora_weights '{}'", config.init_lora_weights),
           "it begins from one matrix's weight; take 'default' or 'gaussian', or leave them out of the targets");
}

}  // namespace lowrank::lora
