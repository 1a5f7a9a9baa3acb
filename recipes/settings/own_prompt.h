// Axolotl's prompts of one's own, {field_instruction, field_output, format}, as our layout.
#pragma once

#include <string>

#include "lowrank/core/json.h"

namespace lowrank::recipes {

struct OwnPrompt {
  std::string text;     // of `layout`; empty: none is the same
  std::string why_not;  // then
};

/// Of the `type` of one of Axolotl's data sets.
OwnPrompt layout_of_prompt(const core::Json& type);

}  // namespace lowrank::recipes
