// Names of tensors in PEFT's files, and of slots in a model.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/lora/adapter.h"

namespace lowrank::lora {

enum class Factor { kA, kB, kMagnitude };

/// "base_model.model.<path>.lora_A.weight", "….lora_B.weight", "….lora_magnitude_vector"
std::string peft_name(const std::string& path, Factor factor);

struct PeftName {
  std::string path;  // what stands before .lora_…, "base_model.model." taken off
  Factor factor = Factor::kA;
  bool plain = true;  // false: without "base_model.model.", or with an adapter's name before ".weight"
};
/// Nothing when the name is not that of a lora_A or lora_B matrix, or a magnitude vector, of a linear layer.
std::optional<PeftName> parse_peft_name(std::string_view name);

std::vector<std::string> slot_paths(const SlotTable& table);
/// The slots of these paths, in their order. ConfigError where one carries an adapter of this name already.
std::vector<LinearSlot> slots_named(const SlotTable& table, const std::vector<std::string>& paths,
                                    const std::string& adapter);

}  // namespace lowrank::lora
