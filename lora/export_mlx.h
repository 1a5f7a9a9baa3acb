// An adapter as mlx-lm keeps one: adapters.safetensors and adapter_config.json.
#pragma once

#include <ATen/core/ScalarType.h>

#include <filesystem>
#include <string>

#include "lowrank/lora/adapter.h"

namespace lowrank::lora {

/// mlx-lm computes y + scale · (x @ lora_a) @ lora_b with lora_a [in, r] and lora_b [r, out], one rank and one scale for
/// all layers: smaller ranks are filled up with zeros, and other scales folded into lora_b. DoRA's magnitudes are its
/// "m". ModelError for trained copies, which it has no place for. `layers`: of the model. The folder must be new.
void export_mlx(const Adapter& adapter, at::ScalarType type, std::int64_t layers, const std::string& model,
                const std::filesystem::path& out);

}  // namespace lowrank::lora
