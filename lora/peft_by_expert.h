// An adapter on experts in the form that older versions of PEFT have: a pair for each expert and linear layer.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>

#include "lowrank/lora/adapter.h"

namespace lowrank::lora {

/// adapter_model.safetensors and adapter_config.json, as PEFT writes them over transformers 4 and reads them over 5,
/// the same update at the same rank: gate and up both have the A of their common parameter, and their rows of its B.
/// ConfigError for a model whose experts PEFT does not read in this form (SlotTable::converts_expert_targets).
void save_by_expert(const Adapter& adapter, const SlotTable& table, at::ScalarType type,
                    const std::filesystem::path& directory);

}  // namespace lowrank::lora
