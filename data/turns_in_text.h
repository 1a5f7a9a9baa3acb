// Conversations that stand in a row as text, which is how tables hold them.
#pragma once

#include <optional>

#include "lowrank/core/json.h"

namespace lowrank::data {

/// The row with the lists of turns, and single turns, that its columns of prompts, answers and conversations hold as JSON
/// in a string; nothing where there are none. A string is one where its first turn has a role and a content by the names
/// of OpenAI or ShareGPT: other JSON is a text to learn. DataError for turns as Python prints them (pandas' to_csv), with
/// the remedy, and for JSON that begins as turns and is none.
std::optional<core::Json> with_turns_read(const core::JsonView& row);

}  // namespace lowrank::data
