#include "lowrank/data/chat/messages.h"

namespace lowrank::data {

core::Json chat_messages(const core::Json& turns) {
  core::Json out = core::Json::array();
  for (const core::Json& turn : turns) {
    if (!turn.is_object()) {
      out.push_back(turn);
      continue;
    }
    core::Json kept = core::Json::object();
    const core::Json* reasoning = nullptr;
    for (const char* key : {"reasoning_content", "thinking", "reasoning"}) {
      const auto it = turn.find(key);
      if (it != turn.end() && !it->is_null() && reasoning == nullptr) reasoning = &*it;
    }
    if (reasoning != nullptr) kept["thinking"] = *reasoning;
    for (const auto& [key, value] : turn.items()) {
      if (!value.is_null()) kept[key] = value;
    }
    if (reasoning != nullptr) kept["reasoning_content"] = *reasoning;
    out.push_back(std::move(kept));
  }
  return out;
}

}  // namespace lowrank::data
