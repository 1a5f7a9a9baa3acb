// What a forward pass gives every block beside x.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "lowrank/kernels/dropout.h"
#include "lowrank/kernels/router_balance.h"
#include "lowrank/kernels/segments.h"
#include "lowrank/models/rotary_pass.h"

namespace lowrank::models {

/// Keys and values that later layers read instead of making their own.
struct SharedKeys {
  at::Tensor keys, values;                       // of this pass's tokens, [T, kv_heads, head_dim]
  std::vector<at::Tensor> all_keys, all_values;  // with a cache: those of every sequence
};

/// What layers hand on beside x.
struct Carried {
  std::vector<SharedKeys> shared;  // by AttentionSpec::stores
  at::Tensor per_layer;            // [T, P] for the layer that runs (Gemma 4), or undefined
};

struct LayerPass {
  const kernels::Segments& segments;
  const RotaryPass& rotary;
  const kernels::DropoutContext* dropout = nullptr;           // null: evaluation
  Carried* carried = nullptr;                                 // null: none of the layers hands on anything
  std::shared_ptr<kernels::RouterBalance> balance = nullptr;  // of the routers, where their loss is wanted
};

}  // namespace lowrank::models
