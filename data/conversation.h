// Conversations in the plain role layout, for models without a chat template.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/rows.h"

namespace lowrank::data {

/// "System: …\n\n", "User: …\n", "Assistant: …" and the end token (without one: an empty line), "Tool: …\n". Learned is
/// what follows "Assistant:" and the end, but of a turn with "weight" or "loss_weight" 0 or "train" false nothing.
/// `system`, when not empty, goes first. Each turn is read by its own spelling: {"role", "content"}, {"from", "value"},
/// or roles as keys: {"user": "…", "assistant": "…"}. Content is a string or a list of text parts. Keys of turns that
/// nothing reads are put into `unread`. DataError: an unknown role; FormatError: a wrong type, or a call of tools, which
/// this layout has no place for.
std::vector<Span> conversation_spans(const core::JsonView& turns, const std::string& system, bool has_end_token,
                                     std::set<std::string>* unread = nullptr);

/// The layout in one line, for the report.
std::string conversation_layout(bool has_end_token);

}  // namespace lowrank::data
