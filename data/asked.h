// What a row asks a model, whatever its rows are keyed with.
#pragma once

#include <optional>
#include <string>

#include "lowrank/core/json.h"
#include "lowrank/data/chat/turns.h"

namespace lowrank::data {

/// A conversation up to its next answer, or a text.
struct Asked {
  std::optional<Conversation> conversation;
  std::string text;
};

/// The key beside a row's turns (turns_key) under which its prompt stands: "prompt", "question" or "instruction". Null:
/// the row has none.
const char* prompt_key(const core::JsonView& row);

/// Turns, an answer at their end left off; {"prompt"} as it stands; {"question"} with a newline after it, and Alpaca's
/// "instruction" and "input" in the layout of the Stanford data set, or each as a question where the layout has a
/// template. DataError: none of these; FormatError: a wrong type.
Asked asked_by(const core::JsonView& row, TurnReader& turns, bool has_template);

}  // namespace lowrank::data
