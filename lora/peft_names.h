// Names of tensors in PEFT's files, and of slots in a model.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lowrank/lora/adapter.h"

namespace lowrank::lora {

enum class LoraPart { kA, kB, kMagnitude, kBias };

/// "base_model.model.<path>.lora_A.weight", "….lora_B.weight", "….lora_B.bias", "….lora_magnitude_vector"; of an embedding
/// "….lora_embedding_A" and "….lora_embedding_B".
std::string peft_name(const std::string& path, LoraPart part, bool embedding = false);

struct PeftName {
  std::string path;  // what stands before .lora_…, "base_model.model." taken off
  LoraPart part = LoraPart::kA;
  bool embedding = false;
  bool plain = true;  // false: without "base_model.model.", or with an adapter's name before ".weight"
};
/// Nothing when the name is not that of an A or B matrix, a bias of B, or a magnitude vector.
std::optional<PeftName> parse_peft_name(std::string_view name);

/// "base_model.model.<path>.weight" or "….bias"; beside A and B PEFT has the bias as "….base_layer.bias".
std::string whole_name(const std::string& path, const std::string& tensor, bool beside_lora);

/// "base_model.model.<path>.token_adapter.trainable_tokens_delta", and <path> of such a name.
std::string token_rows_name(const std::string& path);
std::optional<std::string> parse_token_rows_name(std::string_view name);

struct WholeName {
  std::string path, tensor;  // "model.norm", "weight"
  /// The base's own tensor, which PEFT saves with a targeted embedding or head (base_layer.weight) and, with bias =
  /// "all", of modules saved whole (original_module.bias, modules_to_save.bias, which is there twice).
  bool redundant = false;
};
/// Nothing when the name ends in none of the names that parameters have ("weight", "bias", "A_log" …).
std::optional<WholeName> parse_whole_name(std::string_view name);

std::vector<std::string> slot_paths(const SlotTable& table);
/// What a config's targets may name: the linear slots, and the embedding unless it is all-linear.
std::vector<std::string> adaptable_paths(const SlotTable& table, const LoraConfig& config);
/// Everything that can be trained whole, in the model's order.
std::vector<WholeModule> whole_modules(const SlotTable& table);
bool targets_embedding(const SlotTable& table, const std::vector<std::string>& targets);
/// Every name that a parameter may have for what config.modules_to_save takes in, "bias" for what config.bias does, else nothing.
/// `targets`: the paths with A and B.
std::vector<std::string> copied_tensors(const LoraConfig& config, const std::string& module,
                                        const std::vector<std::string>& targets);
/// ConfigError for a target that modules_to_save takes in by a part of its last name (PEFT adapts it all the same, and
/// then cannot wrap it).
void check_not_saved_whole(const LoraConfig& config, const std::vector<std::string>& targets);
/// The last names of paths, each once, sorted.
std::vector<std::string> last_segments(const std::vector<std::string>& paths);

/// ConfigError where the embedding (if it is adapted) or one of the modules carries an adapter of this name already.
void check_free(const SlotTable& table, bool on_embedding,
                const std::vector<std::pair<WholeModule, std::vector<NamedTensor>>>& copied,
                const std::string& adapter);

/// The linear slots among these paths, in their order; the embedding is passed over. ConfigError where one carries an
/// adapter of this name already.
std::vector<LinearSlot> slots_named(const SlotTable& table, const std::vector<std::string>& paths,
                                    const std::string& adapter);

/// The same for slots of experts.
std::vector<ExpertsSlot> experts_named(const SlotTable& table, const std::vector<std::string>& paths,
                                       const std::string& adapter);
/// What PEFT's file calls the slot among those of an adapter: its owner, and inside it a ".base_layer" for each
/// parameter of the same owner that comes after it (wrappers are nested, the last is the outermost).
std::string experts_path(const ExpertsSlotImpl& slot, const std::vector<ExpertsSlot>& of_adapter);

/// PEFT's fan_in_fan_out for an adapter of these layers: whether weights are stored [in, out] (Conv1D). PEFT sets it
/// for each layer that it wraps, so that the last of them decides.
bool fan_in_fan_out(const std::vector<LinearSlot>& slots);

/// The tensor of the model's files that its head is; empty where there is no head.
std::string head_tensor(const SlotTable& table);

}  // namespace lowrank::lora
