// Adapters as mlx-lm writes them: adapters.safetensors beside an adapter_config.json of its own.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/formats/safetensors.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/lora/config.h"

namespace lowrank::lora {

/// Whether the folder holds such an adapter: "fine_tune_type" or "lora_parameters" in its config, and no "peft_type".
bool is_mlx_adapter(const std::filesystem::path& directory);

/// Its config in PEFT's terms: scale is alpha / rank, the targets are the layers that the file has. FormatError for
/// whole weights ("full") and for what is missing or cannot be.
LoraConfig read_mlx_config(const std::filesystem::path& directory);

/// The same adapter as PEFT would have it: matrices turned, the layers of experts ("switch_mlp") on their parameters.
struct MlxAdapter {
  LoraConfig config;
  std::shared_ptr<const formats::SafetensorsFile> file;
};
/// `table`: says which module is the embedding, and what its experts' parameters are. ModelError naming a tensor that
/// is no half of a pair, has a shape that does not go with it, or has no place in PEFT's form.
MlxAdapter read_mlx(const std::filesystem::path& directory, const SlotTable& table);

/// adapter_model.safetensors, or mlx-lm's adapters.safetensors.
std::filesystem::path adapter_weights(const std::filesystem::path& directory);

}  // namespace lowrank::lora
