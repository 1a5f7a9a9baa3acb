// add_prefix_space of tokenizer_config.json beside a tokenizer.json.
#pragma once

#include "lowrank/core/json.h"
#include "lowrank/data/tokenizer/special_tokens.h"

namespace lowrank::data {

/// Changes a tokenizer.json to what tokenizer_config.json says of a space before the text, where it says something else and the tokenizer is
/// of a class that transformers builds by that (GPT-2's, Qwen2's and their like, Llama's); of other classes the file alone counts.
void apply_prefix_space(core::Json& tokenizer, const SpecialTokens& special);

}  // namespace lowrank::data
