// Conversations in the plain role layout, for models without a chat template.
#pragma once

#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/rows.h"

namespace lowrank::data {

/// What a turn calls its two values.
struct TurnKeys {
  const char* role;
  const char* content;
};

/// "System: …\n\n", "User: …\n", "Assistant: …" and the end token (without one: an empty line), "Tool: …\n". Learned is
/// what follows "Assistant:" and the end. `system`, when not empty, goes first. Content is a string or a list of text
/// parts. DataError: an unknown role; FormatError: a wrong type.
std::vector<Span> conversation_spans(const core::JsonView& turns, const TurnKeys& keys, const std::string& system,
                                     bool has_end_token);

/// The layout in one line, for the report.
std::string conversation_layout(bool has_end_token);

}  // namespace lowrank::data
