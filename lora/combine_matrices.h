// The combination of several adapters at one module.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/lora/combine.h"
#include "lowrank/lora/linear_slot.h"

namespace lowrank::lora {

/// A [r, in] and B [out, r] of scale 1 from those of each adapter that has the module; smaller ranks are filled up with
/// zeros. `turned`: PEFT has the update as [in, out] (an embedding, a Conv1D), which masks by chance go by. ConfigError
/// where the method needs equal shapes and `path` has others.
LoraMatrices combine_matrices(const std::string& path, bool turned, const std::vector<LoraMatrices>& parts,
                              const std::vector<double>& weights, std::int64_t r, const CombineOptions& options,
                              const at::Generator& generator);

}  // namespace lowrank::lora
