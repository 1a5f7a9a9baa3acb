#include "lowrank/data/conversation.h"

#include <algorithm>
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

Role role_of(const std::string& name, const std::string& where) {
  std::vector<std::string> known;
  for (const RoleName& r : kRoles) {
    if (name == r.name) return r.role;
    known.emplace_back(r.name);
  }
  throw DataError(where + ": unknown role '" + core::printable(name) + "'" + core::did_you_mean(name, known) +
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

bool is_role(const std::string& name) {
  return std::any_of(kRoles.begin(), kRoles.end(), [&](const RoleName& r) { return name == r.name; });
}

/// What one turn says.
struct Turn {
  Role role;
  std::string content;
  bool muted = false;  // context only
};

/// Whether the turn is not to be learned: "weight": 0 as OpenAI has it, "loss_weight": 0 as LLaMA-Factory, "train":
/// false as axolotl.
bool is_muted(const core::JsonView& turn) {
  bool muted = turn.has_value("train") && !turn.at("train").as_bool();
  for (const char* key : {"weight", "loss_weight"}) {
    if (!turn.has_value(key)) continue;
    const double weight = turn.at(key).as_double();
    if (weight != 0 && weight != 1) turn.at(key).fail("expected 0 (context only) or 1");
    muted = muted || weight == 0;
  }
  return muted;
}

void refuse_calls(const core::JsonView& turn) {
  for (const char* key : {"tool_calls", "function_call"}) {
    if (!turn.has_value(key) || (turn.at(key).is_array() && turn.at(key).size() == 0)) continue;
    turn.fail(
        std::string("the turn calls a tool in \"") + key +
        "\", and the plain layout, which is used for models without a chat template, has no place for calls; write "
        "the call out as the turn's content");
  }
}

/// The turns that one element of the array stands for, in order; what it has beside them goes to `unread`.
std::vector<Turn> turns_of(const core::JsonView& turn, std::set<std::string>* unread) {
  std::vector<std::string> read = {"weight", "loss_weight", "train", "tool_calls", "function_call"};
  std::vector<Turn> out;
  const bool has_role = turn.has("role") || turn.has("from");
  const std::vector<std::string> keys = turn.is_object() ? turn.keys() : std::vector<std::string>();
  if (!has_role && std::any_of(keys.begin(), keys.end(), is_role)) {
    for (const std::string& key : keys) {  // roles as keys
      if (!is_role(key)) continue;
      out.push_back({role_of(key, turn.where()), content_of(turn.at(key)), is_muted(turn)});
      read.push_back(key);
    }
  } else {
    const char* role = turn.has("from") && !turn.has("role") ? "from" : "role";
    const char* content = turn.has("value") && !turn.has("content") ? "value" : "content";
    refuse_calls(turn);
    out.push_back(
        {role_of(turn.at(role).as_string(), turn.at(role).where()), content_of(turn.at(content)), is_muted(turn)});
    read.insert(read.end(), {role, content});
  }
  for (const std::string& key : keys) {
    if (unread != nullptr && std::find(read.begin(), read.end(), key) == read.end())
      unread->insert("\"" + key + "\" of turns");
  }
  return out;
}

}  // namespace

std::vector<Span> conversation_spans(const core::JsonView& turns, const std::string& system, bool has_end_token,
                                     std::set<std::string>* unread) {
  std::vector<Span> spans;
  if (!system.empty()) spans.push_back({"System: " + system + "\n\n"});
  if (!turns.is_array()) turns.fail("expected an array of turns, found " + std::string(turns.raw().type_name()));
  for (std::size_t i = 0; i < turns.size(); ++i) {
    for (const Turn& turn : turns_of(turns.at(i), unread)) {
      switch (turn.role) {
        case Role::kSystem:
          spans.push_back({"System: " + turn.content + "\n\n"});
          break;
        case Role::kUser:
          spans.push_back({"User: " + turn.content + "\n"});
          break;
        case Role::kTool:
          spans.push_back({"Tool: " + turn.content + "\n"});
          break;
        case Role::kAssistant:
          // The space belongs to the answer: a prompt that ends in "Assistant:" then continues as it was learned.
          spans.push_back({"Assistant:"});
          spans.push_back({" " + turn.content + (has_end_token ? "" : "\n\n"), !turn.muted, true, turn.muted});
          break;
      }
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
