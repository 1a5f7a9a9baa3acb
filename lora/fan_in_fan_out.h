// PEFT's flag for weights that are stored [in, out] (GPT-2's Conv1D): its matrices are the same for both, but it wants
// to be told.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "lowrank/lora/linear_slot.h"

namespace lowrank::lora {

/// Whether the weight of one of these modules is stored so.
inline bool stored_in_out(const std::vector<LinearSlot>& slots, const std::vector<std::string>& paths) {
  return std::any_of(slots.begin(), slots.end(), [&](const LinearSlot& slot) {
    return slot->base().transposed() && std::find(paths.begin(), paths.end(), slot->path()) != paths.end();
  });
}

}  // namespace lowrank::lora
