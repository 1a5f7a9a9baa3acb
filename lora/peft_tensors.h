// Reading and writing a PEFT directory whose tensors are already laid out under PEFT's names.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/lora/adapter.h"
#include "lowrank/lora/config.h"

namespace lowrank::lora {

/// adapter_model.safetensors and adapter_config.json, each written beside and renamed; the folder is made. ModelError
/// when a tensor is not finite; then nothing is written.
void write_peft(const std::vector<NamedTensor>& tensors, const LoraConfig& config,
                const std::filesystem::path& directory);

/// adapter_model.safetensors into these tensors: the same set of names and shapes, all finite, or ModelError by name
/// with nothing changed.
void read_peft_tensors(const std::vector<NamedTensor>& tensors, const std::filesystem::path& directory);

}  // namespace lowrank::lora
