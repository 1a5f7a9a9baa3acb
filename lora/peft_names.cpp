#include "lowrank/lora/peft_names.h"

#include <fmt/format.h>

#include <map>

#include "lowrank/core/error.h"

namespace lowrank::lora {

namespace {
constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kWeight = ".weight";

std::string_view marker_of(Factor factor) {
  switch (factor) {
    case Factor::kA:
      return ".lora_A";
    case Factor::kB:
      return ".lora_B";
    case Factor::kMagnitude:
      return ".lora_magnitude_vector";
  }
  return "";
}
}  // namespace

std::string peft_name(const std::string& path, Factor factor) {
  return fmt::format("{}{}{}{}", kPrefix, path, marker_of(factor), factor == Factor::kMagnitude ? "" : kWeight);
}

std::optional<PeftName> parse_peft_name(std::string_view name) {
  const bool weight = name.size() >= kWeight.size() && name.substr(name.size() - kWeight.size()) == kWeight;
  if (weight) name.remove_suffix(kWeight.size());
  PeftName result;
  for (const Factor factor : {Factor::kA, Factor::kB, Factor::kMagnitude}) {
    const std::string_view marker = marker_of(factor);
    if (!weight && factor != Factor::kMagnitude) continue;
    const std::size_t at = name.rfind(marker);
    if (at == std::string_view::npos || at == 0) continue;
    const std::string_view adapter = name.substr(at + marker.size());  // "" or ".default"
    if (!adapter.empty() && (adapter.front() != '.' || adapter.find('.', 1) != std::string_view::npos)) continue;
    std::string_view path = name.substr(0, at);
    const bool prefixed = path.substr(0, kPrefix.size()) == kPrefix;
    if (prefixed) path.remove_prefix(kPrefix.size());
    result.path = std::string(path);
    result.factor = factor;
    result.plain = prefixed && adapter.empty() && weight == (factor != Factor::kMagnitude);
    return result;
  }
  return std::nullopt;
}

std::vector<std::string> slot_paths(const SlotTable& table) {
  std::vector<std::string> result;
  result.reserve(table.slots.size());
  for (const LinearSlot& slot : table.slots) result.push_back(slot->path());
  return result;
}

std::vector<LinearSlot> slots_named(const SlotTable& table, const std::vector<std::string>& paths,
                                    const std::string& adapter) {
  std::map<std::string, LinearSlot> by_path;
  for (const LinearSlot& slot : table.slots) by_path.emplace(slot->path(), slot);
  std::vector<LinearSlot> result;
  for (const std::string& path : paths) {
    result.push_back(by_path.at(path));
    if (result.back()->adapted(adapter))
      throw ConfigError(fmt::format("{} already carries the adapter '{}'; detach it, or give the new one another name",
                                    path, adapter));
  }
  return result;
}

}  // namespace lowrank::lora
