// Conversations on their way into a template.
#pragma once

#include "lowrank/core/json.h"

namespace lowrank::data {

/// What transformers' apply_chat_template makes of an array of turns before a template sees it: keys that are null are
/// left out, and what a turn calls reasoning_content, thinking or reasoning is there as reasoning_content and as
/// thinking. Turns that are no objects stay as they are.
core::Json chat_messages(const core::Json& turns);

}  // namespace lowrank::data
