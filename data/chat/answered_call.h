// Which call a tool has answered, in a conversation as it goes on.
#pragma once

#include <cstdint>
#include <string>

#include "lowrank/core/json.h"

namespace lowrank::data {

/// The id of the call that a tool's answer behind these messages is to: the first of the last turn's that no tool has answered yet. With
/// `as_calls` (a template that takes tool_calls, and links both by ids) an answer of the model's that is calls written out becomes a turn with
/// calls. Where the model gave no id, or no call is there, it is one of ours, the next after `made`: of the nine letters and digits that
/// Mistral's templates ask for.
std::string answered_call(core::Json& messages, bool as_calls, std::int64_t& made);

}  // namespace lowrank::data
