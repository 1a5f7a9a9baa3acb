#include "lowrank/data/conversation.h"

#include <array>
#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::data {
namespace {

enum class Role { kSystem, kUser, kAssistant, kTool };

struct RoleName {
  std::string_view name;
  Role role;
};
constexpr std::array<RoleName, 11> kRoles = {{{"system", Role::kSystem},
                                              {"developer", Role::kSystem},
                                              {"user", Role::kUser},
                                              {"human", Role::kUser},
                                              {"assistant", Role::kAssistant},
                                              {"gpt", Role::kAssistant},
                                              {"model", Role::kAssistant},
                                              {"function_call", Role::kAssistant},
                                              {"tool", Role::kTool},
                                              {"function", Role::kTool},
                                              {"observation", Role::kTool}}};

Role role_of(const core::JsonView& value) {
  const std::string name = value.as_string();
  std::vector<std::string> known;
  for (const RoleName& r : kRoles) {
    if (name == r.name) return r.role;
    known.emplace_back(r.name);
  }
  throw DataError(value.where() + ": unknown role '" + core::printable(name) + "'" + core::did_you_mean(name, known) +
                  " (known: system, user, assistant, tool and their other names)");
}

/// A string, or a list of {"type": "text", "text" or "value": "…"}.
std::string content_of(const core::JsonView& value) {
  if (!value.is_array()) return value.as_string();
  std::string text;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const core::JsonView part = value.at(i);
    const std::string type = part.get_string("type", "text");
    if (type != "text")
      part.fail("only parts of type \"text\" can be learned, found \"" + core::printable(type) + "\"");
    text += part.has("value") && !part.has("text") ? part.at("value").as_string() : part.at("text").as_string();
  }
  return text;
}

}  // namespace

std::vector<Span> conversation_spans(const core::JsonView& turns, const TurnKeys& keys, const std::string& system,
                                     bool has_end_token) {
  std::vector<Span> spans;
  if (!system.empty()) spans.push_back({"System: " + system + "\n\n"});
  if (!turns.is_array()) turns.fail("expected an array of turns, found " + std::string(turns.raw().type_name()));
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const core::JsonView turn = turns.at(i);
    const Role role = role_of(turn.at(keys.role));
    const std::string content = content_of(turn.at(keys.content));
    switch (role) {
      case Role::kSystem:
        spans.push_back({"System: " + content + "\n\n"});
        break;
      case Role::kUser:
        spans.push_back({"User: " + content + "\n"});
        break;
      case Role::kTool:
        spans.push_back({"Tool: " + content + "\n"});
        break;
      case Role::kAssistant:
        // The space belongs to the answer: a prompt that ends in "Assistant:" then continues as it was learned.
        spans.push_back({"Assistant:"});
        spans.push_back({" " + content + (has_end_token ? "" : "\n\n"), true, true});
        break;
    }
  }
  return spans;
}

std::string conversation_layout(bool has_end_token) {
  return std::string("conversations are laid out as \"System: …\\n\\n\", \"User: …\\n\", \"Assistant: …\" and ") +
         (has_end_token ? "the end token" : "an empty line") +
         ", since the model has no chat template; the assistant's turns and their ends are learned";
}

}  // namespace lowrank::data
