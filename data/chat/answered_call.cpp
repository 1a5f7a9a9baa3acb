#include "lowrank/data/chat/answered_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "lowrank/data/chat/turns.h"

namespace lowrank::data {

std::string answered_call(core::Json& messages, bool as_calls, std::int64_t& made) {
  const auto own = [&] { return fmt::format("call{:05}", ++made); };
  std::vector<std::string> answered;
  std::size_t at = messages.size();
  for (; at > 0 && messages[at - 1]["role"] == "tool"; --at) answered.push_back(messages[at - 1].value("tool_call_id", ""));
  if (at == 0 || messages[at - 1]["role"] != "assistant") return own();
  core::Json& turn = messages[at - 1];
  if (as_calls && !turn.contains("tool_calls") && turn["content"].is_string()) {
    if (std::optional<core::Json> calls = calls_in(turn["content"].get<std::string>(), "chat")) {
      for (core::Json& call : *calls) {
        core::Json& function = call["function"];
        const auto id = function.find("id");
        std::string name = id != function.end() && id->is_string() ? id->get<std::string>() : "";
        function.erase("id");
        call["id"] = name.empty() ? own() : std::move(name);
      }
      turn["content"] = nullptr;
      turn["tool_calls"] = std::move(*calls);
    }
  }
  std::string last;
  for (const core::Json& call : turn.value("tool_calls", core::Json::array())) {
    last = call.value("id", "");
    if (std::find(answered.begin(), answered.end(), last) == answered.end()) return last;
  }
  return last.empty() ? own() : last;
}

}  // namespace lowrank::data
