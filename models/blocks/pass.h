// What a forward pass gives every block beside x.
#pragma once

#include "lowrank/kernels/dropout.h"
#include "lowrank/kernels/segments.h"
#include "lowrank/models/rotary_pass.h"

namespace lowrank::models {

struct LayerPass {
  const kernels::Segments& segments;
  const RotaryPass& rotary;
  const kernels::DropoutContext* dropout = nullptr;  // null: evaluation
};

}  // namespace lowrank::models
