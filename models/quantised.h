// Repositories whose weights were quantised by another program.
#pragma once

#include "lowrank/core/json.h"

namespace lowrank::models {

/// ModelError that says what the weights are and what to download instead. `config`: config.json; `key`:
/// quantization_config or compression_config in it.
[[noreturn]] void refuse_quantised(const core::JsonView& config, const std::string& key);

}  // namespace lowrank::models
