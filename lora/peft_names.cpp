#include "lowrank/lora/peft_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "lowrank/core/error.h"
#include "lowrank/lora/target_parameters.h"

namespace lowrank::lora {

namespace {
constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kWeight = ".weight";
constexpr std::string_view kBias = ".bias";
constexpr std::string_view kTokenRows = ".token_adapter.trainable_tokens_delta";

struct Marker {
  LoraPart part;
  bool embedding, weight;  // whether ".weight" follows
  std::string_view text;
};
constexpr std::array kMarkers = {
    Marker{LoraPart::kA, false, true, ".lora_A"}, Marker{LoraPart::kB, false, true, ".lora_B"},
    Marker{LoraPart::kMagnitude, false, false, ".lora_magnitude_vector"},
    Marker{LoraPart::kBias, false, false, ".lora_B"},
    Marker{LoraPart::kA, true, false, ".lora_embedding_A"}, Marker{LoraPart::kB, true, false, ".lora_embedding_B"}};

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

bool take_suffix(std::string_view& text, std::string_view suffix) {
  if (!text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

// What parameters of modules are called: a layer's, a delta rule's (Qwen3.5), an attention's (gpt-oss), a router's
// (Gemma 4).
const std::vector<std::string>& own_names() {
  static const std::vector<std::string> names = {"weight", "bias",  "A_log",           "dt_bias",
                                                 "sinks",  "scale", "per_expert_scale"};
  return names;
}
}  // namespace

std::string peft_name(const std::string& path, LoraPart part, bool embedding) {
  const bool of_embedding = embedding && part != LoraPart::kMagnitude;  // DoRA's has one name for both
  for (const Marker& marker : kMarkers)
    if (marker.part == part && marker.embedding == of_embedding)
      return fmt::format("{}{}{}{}", kPrefix, path, marker.text,
                         marker.weight ? kWeight : part == LoraPart::kBias ? kBias : "");
  throw InternalError("an embedding has no bias beside B");
}

std::optional<PeftName> parse_peft_name(std::string_view name) {
  const bool weight = take_suffix(name, kWeight);
  const bool bias = !weight && take_suffix(name, kBias);
  PeftName result;
  for (const Marker& marker : kMarkers) {
    if ((!weight && marker.weight) || bias != (marker.part == LoraPart::kBias)) continue;
    const std::size_t at = name.rfind(marker.text);
    if (at == std::string_view::npos || at == 0) continue;
    const std::string_view adapter = name.substr(at + marker.text.size());  // "" or ".default"
    if (!adapter.empty() && (adapter.front() != '.' || adapter.find('.', 1) != std::string_view::npos)) continue;
    std::string_view path = name.substr(0, at);
    const bool prefixed = take_prefix(path, kPrefix);
    result.path = std::string(path);
    result.part = marker.part;
    result.embedding = marker.embedding;
    result.plain = prefixed && adapter.empty() && weight == marker.weight;
    return result;
  }
  return std::nullopt;
}

std::string token_rows_name(const std::string& path) { return fmt::format("{}{}{}", kPrefix, path, kTokenRows); }

std::optional<std::string> parse_token_rows_name(std::string_view name) {
  if (!take_suffix(name, kTokenRows)) {
    const std::size_t at = name.rfind(kTokenRows);  // with an adapter's name behind
    if (at == std::string_view::npos || name.find('.', at + kTokenRows.size() + 1) != std::string_view::npos)
      return std::nullopt;
    name = name.substr(0, at);
  }
  take_prefix(name, kPrefix);
  return std::string(name);
}

std::string whole_name(const std::string& path, const std::string& tensor, bool beside_lora) {
  return fmt::format("{}{}{}.{}", kPrefix, path, beside_lora ? ".base_layer" : "", tensor);
}

std::optional<WholeName> parse_whole_name(std::string_view name) {
  WholeName result;
  for (const std::string& own : own_names()) {
    if (!take_suffix(name, "." + own)) continue;
    result.tensor = own;
    break;
  }
  if (result.tensor.empty()) return std::nullopt;
  take_prefix(name, kPrefix);
  result.redundant = take_suffix(name, ".original_module") || take_suffix(name, ".modules_to_save");
  if (take_suffix(name, ".base_layer")) result.redundant = result.tensor == "weight";
  take_suffix(name, ".token_adapter");
  result.path = std::string(name);
  return result;
}

std::vector<std::string> slot_paths(const SlotTable& table) {
  std::vector<std::string> result;
  result.reserve(table.slots.size());
  for (const LinearSlot& slot : table.slots) result.push_back(slot->path());
  return result;
}

std::vector<std::string> adaptable_paths(const SlotTable& table, const LoraConfig& config) {
  std::vector<std::string> result = slot_paths(table);
  std::erase_if(result, [&](const std::string& path) { return means_parameter(table, path); });
  if (config.all_linear()) {
    const auto& kept = table.kept_from_all_linear;
    std::erase_if(result,
                  [&](const std::string& path) { return std::find(kept.begin(), kept.end(), path) != kept.end(); });
  }
  if (table.embedding != nullptr && !config.all_linear()) result.insert(result.begin(), table.embedding->path());
  return result;
}

std::vector<WholeModule> whole_modules(const SlotTable& table) {
  std::vector<WholeModule> result;
  if (table.embedding != nullptr) result.push_back(table.embedding->whole());
  for (const LinearSlot& slot : table.slots) result.push_back(slot->whole());
  for (const LinearSlot& router : table.routers) result.push_back(router->whole());
  result.insert(result.end(), table.whole.begin(), table.whole.end());
  return result;
}

bool targets_embedding(const SlotTable& table, const std::vector<std::string>& targets) {
  return table.embedding != nullptr &&
         std::find(targets.begin(), targets.end(), table.embedding->path()) != targets.end();
}

std::vector<std::string> copied_tensors(const LoraConfig& config, const std::string& module,
                                        const std::vector<std::string>& targets) {
  if (config.saves_whole(module)) return own_names();
  if (config.bias == "all") return {"bias"};
  if (config.bias == "lora_only" && std::find(targets.begin(), targets.end(), module) != targets.end()) return {"bias"};
  return {};
}

void check_not_saved_whole(const LoraConfig& config, const std::vector<std::string>& targets) {
  for (const std::string& target : targets)
    if (config.saves_whole(target))
      throw ConfigError(
          fmt::format("modules_to_save takes in {} by the end of its name, and target_modules adapts it: "
                      "give modules_to_save whole names, or leave {} out of the targets",
                      target, target));
}

std::vector<std::string> last_segments(const std::vector<std::string>& paths) {
  std::set<std::string> result;
  for (const std::string& path : paths) result.insert(path.substr(path.rfind('.') + 1));
  return {result.begin(), result.end()};
}

namespace {
[[noreturn]] void fail_taken(const std::string& path, const std::string& adapter) {
  throw ConfigError(
      fmt::format("{} already carries the adapter '{}'; detach it, or give the new one another name", path, adapter));
}
}  // namespace

void check_free(const SlotTable& table, bool on_embedding,
                const std::vector<std::pair<WholeModule, std::vector<NamedTensor>>>& copied,
                const std::string& adapter) {
  if (on_embedding && table.embedding->adapted(adapter)) fail_taken(table.embedding->path(), adapter);
  for (const auto& [module, copies] : copied)
    if (module->adapted(adapter)) fail_taken(module->path(), adapter);
}

std::vector<LinearSlot> slots_named(const SlotTable& table, const std::vector<std::string>& paths,
                                    const std::string& adapter) {
  std::map<std::string, LinearSlot> by_path;
  for (const LinearSlot& slot : table.slots) {
    by_path.emplace(slot->path(), slot);
    by_path.emplace(slot->path() + ".weight", slot);  // as a parameter
  }
  for (const LinearSlot& router : table.routers) by_path.emplace(router->path() + ".weight", router);
  std::vector<LinearSlot> result;
  for (const std::string& path : paths) {
    const auto found = by_path.find(path);
    if (found == by_path.end()) continue;
    result.push_back(found->second);
    if (result.back()->adapted(adapter)) fail_taken(path, adapter);
  }
  return result;
}

std::vector<ExpertsSlot> experts_named(const SlotTable& table, const std::vector<std::string>& paths,
                                       const std::string& adapter) {
  std::vector<ExpertsSlot> result;
  for (const ExpertsSlot& slot : table.experts) {
    if (std::find(paths.begin(), paths.end(), slot->path()) == paths.end()) continue;
    result.push_back(slot);
    if (slot->adapted(adapter)) fail_taken(slot->path(), adapter);
  }
  return result;
}

std::string experts_path(const ExpertsSlotImpl& slot, const std::vector<ExpertsSlot>& of_adapter) {
  std::string path = slot.base().owner;
  bool found = false;
  for (const ExpertsSlot& other : of_adapter) {
    if (other->base().owner != slot.base().owner) continue;
    if (found) path += ".base_layer";
    found = found || other->path() == slot.path();
  }
  return path;
}

bool fan_in_fan_out(const std::vector<LinearSlot>& slots) {
  return !slots.empty() && slots.back()->stored().transposed;
}

std::string head_tensor(const SlotTable& table) {
  for (const LinearSlot& slot : table.slots)
    if (slot->path() == table.head) return slot->stored().tensor;
  return table.head.empty() ? "" : table.head + ".weight";
}

}  // namespace lowrank::lora
