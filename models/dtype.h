// Which dtype a run computes in.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <string>
#include <string_view>

#include "lowrank/formats/safetensors.h"

namespace lowrank::models {

enum class DTypeChoice { kAuto, kFloat32, kBFloat16 };

struct DTypeDecision {
  at::ScalarType dtype = at::kFloat;
  std::string reason;  // in words and without its name, for the opening lines of a run
};

/// Auto: bfloat16 when most of the weights' bytes are bfloat16 and the device computes it (a GPU; a CPU with instructions for
/// it), else float32. ModelError for weights that are not floating point.
DTypeDecision choose_dtype(DTypeChoice choice, const formats::WeightFiles& weights, at::Device device = at::kCPU);

/// "bfloat16" or "float32", as `dtype` has it.
std::string dtype_name(at::ScalarType dtype);

}  // namespace lowrank::models
