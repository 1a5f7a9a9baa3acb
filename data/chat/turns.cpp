#include "lowrank/data/chat/turns.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/chat/python_json.h"
#include "lowrank/data/json_faults.h"

namespace lowrank::data {
namespace {

using core::Json;
using core::JsonView;

constexpr std::string_view kCall = "function_call";

/// Names that data sets have for the roles that templates know.
constexpr std::array<std::pair<std::string_view, std::string_view>, 18> kRoles = {{{"system", "system"},
                                                                                   {"developer", "developer"},
                                                                                   {"user", "user"},
                                                                                   {"human", "user"},
                                                                                   {"prompter", "user"},
                                                                                   {"assistant", "assistant"},
                                                                                   {"gpt", "assistant"},
                                                                                   {"model", "assistant"},
                                                                                   {"bot", "assistant"},
                                                                                   {"chatgpt", "assistant"},
                                                                                   {"function_call", kCall},
                                                                                   {"tool_call", kCall},
                                                                                   {"tool", "tool"},
                                                                                   {"function", "tool"},
                                                                                   {"observation", "tool"},
                                                                                   {"ipython", "tool"},
                                                                                   {"tool_response", "tool"},
                                                                                   {"tool_result", "tool"}}};

std::optional<std::string_view> known_role(std::string_view name) {
  for (const auto& [theirs, ours] : kRoles) {
    if (name == theirs) return ours;
  }
  return std::nullopt;
}

/// The keys under which a turn names its role, and those under which it has its text: the first that is there.
constexpr std::array<const char*, 3> kRoleKeys = {"role", "from", "speaker"};
constexpr std::array<const char*, 4> kContentKeys = {"content", "value", "text", "message"};

template <std::size_t N>
const char* first_of(const std::array<const char*, N>& keys, const JsonView& turn) {
  const auto found = std::find_if(keys.begin(), keys.end(), [&](const char* key) { return turn.has(key); });
  return found == keys.end() ? nullptr : *found;
}

/// Keys that say whether a turn is learned: OpenAI's, LLaMA-Factory's, axolotl's (training; older: train), ms-swift's.
constexpr std::array<const char*, 6> kMuteKeys = {"weight", "loss_weight", "train", "training", "trainable", "loss"};

/// 0 and false: context only.
bool says_no(const JsonView& value) {
  if (value.is_bool()) return !value.as_bool();
  const double weight = value.as_double();
  if (weight != 0 && weight != 1) value.fail("expected 0 or false (context only), or 1 or true");
  return weight == 0;
}

bool is_muted(const JsonView& turn) {
  const char* yes = nullptr;
  const char* no = nullptr;
  for (const char* key : kMuteKeys) {
    if (turn.has_value(key)) (says_no(turn.at(key)) ? no : yes) = key;
  }
  if (yes != nullptr && no != nullptr)
    turn.fail(std::string("\"") + no + "\" says that the turn is context only, \"" + yes + "\" that it is learned; keep one of them");
  return no != nullptr;
}

bool is_empty(const JsonView& value) {
  return value.is_null() || ((value.is_array() || value.is_object()) && value.size() == 0) ||
         (value.is_string() && value.raw().get_ref<const std::string&>().empty());
}

/// JSON that may stand as text in a string; nothing where it is other text.
std::optional<Json> parsed(const std::string& text, const std::string& where) {
  try {
    return core::parse_json(text, where);
  } catch (const FormatError&) {
    return std::nullopt;
  }
}

std::string counted(const std::map<std::string, std::int64_t>& found, const char* quote) {
  std::string list;
  std::size_t n = 0;
  for (const auto& [name, count] : found) {
    if (++n > 8) return list + ", …";
    list += (list.empty() ? "" : ", ") + (quote + core::printable(name, 40) + quote) + " (" +
            core::format_count(count) + (count == 1 ? " turn)" : " turns)");
  }
  return list;
}

std::string keys_found(const std::vector<std::string>& keys) {
  std::string list;
  for (std::size_t i = 0; i < keys.size() && i < 8; ++i) list += (i == 0 ? "" : ", ") + core::printable(keys[i], 40);
  return "found " + (keys.empty() ? std::string("no keys") : list + (keys.size() > 8 ? ", …" : ""));
}

}  // namespace

void TurnNotes::add(const TurnNotes& other) {
  for (const auto& [key, n] : other.unread) unread[key] += n;
  for (const auto& [role, n] : other.unknown_roles) unknown_roles[role] += n;
  unused_tools += other.unused_tools;
  unused_thoughts += other.unused_thoughts;
}

std::vector<std::string> TurnNotes::sentences() const {
  std::vector<std::string> all;
  if (!unread.empty()) all.push_back("keys of turns that are not read: " + counted(unread, "\""));
  if (!unknown_roles.empty())
    all.push_back("roles that the chat template does not know by name, and is given as they are (it may leave their turns out): " +
                  counted(unknown_roles, ""));
  if (unused_tools > 0) {
    all.push_back(core::format_count(unused_tools) +
                  " conversations have tools, which the chat template has no place for: they are not shown");
  }
  if (unused_thoughts > 0) {
    all.push_back(core::format_count(unused_thoughts) +
                  " turns have reasoning beside their content, which the chat template has no place for");
  }
  return all;
}

std::string usual_role(const std::string& name) {
  const auto known = known_role(name);
  return known ? std::string(*known == kCall ? "assistant" : *known) : name;
}

std::string named_role(const JsonView& turn) {
  if (!turn.is_object()) return "";
  if (const char* const key = first_of(kRoleKeys, turn)) return turn.at(key).is_string() ? usual_role(turn.at(key).as_string()) : "";
  for (const std::string& key : turn.keys()) {
    if (known_role(key)) return usual_role(key);
  }
  return "";
}

bool looks_like_turns(const JsonView& value) {
  if (!value.is_array() || value.size() == 0 || !value.at(0).is_object()) return false;
  return first_of(kRoleKeys, value.at(0)) != nullptr || !named_role(value.at(0)).empty();
}

const char* turns_key(const JsonView& row) {
  for (const char* key : {"messages", "conversations", "conversation", "dialog"}) {
    if (row.has(key)) return key;
  }
  return row.has("prompt") && row.at("prompt").is_array() ? "prompt" : nullptr;
}

const std::vector<std::string>& conversation_row_keys(bool has_template) {
  static const std::vector<std::string> plain = {"system", "mask"};
  static const std::vector<std::string> all = {"system",    "mask",      "tools",
                                               "functions", "documents", "chat_template_kwargs"};
  return has_template ? all : plain;
}

std::string TurnReader::role_of(const std::string& name, const std::string& where) {
  if (const auto known = known_role(name)) {
    if (*known == "developer" && layout_.has_template() && !layout_.reads("developer")) ++notes_.unknown_roles[name];
    return std::string(*known);
  }
  std::vector<std::string> names;
  for (const auto& role : kRoles) names.emplace_back(role.first);
  const std::string nearest = core::did_you_mean(name, names);
  if (!layout_.has_template() || !nearest.empty()) {
    throw DataError(where + ": unknown role '" + core::printable(name) + "'" + nearest +
                    " (known: system, user, assistant, tool and their other names)");
  }
  ++notes_.unknown_roles[name];
  return name;
}

namespace {

bool has_thinking(const JsonView& parts) {
  bool thinks = false;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (!parts.at(i).is_object()) return false;
    const std::string type = parts.at(i).get_string("type", "text");
    if (type != "text" && type != "thinking") return false;
    thinks = thinks || type == "thinking";
  }
  return thinks;
}

}  // namespace

Json TurnReader::content_of(const JsonView& value) const {
  if (value.is_null()) return layout_.has_template() ? Json() : Json("");
  if (value.is_array() && layout_.takes_thinking_parts() && has_thinking(value)) return value.raw();
  std::string text;
  if (!value.is_array()) {
    text = value.as_string();
  } else {
    for (std::size_t i = 0; i < value.size(); ++i) {
      const JsonView part = value.at(i);
      if (part.is_string()) {
        text += part.as_string();
        continue;
      }
      const std::string type = part.get_string("type", "text");
      if (type != "text")
        part.fail("only parts of type \"text\" can be learned, found \"" + core::printable(type) + "\"");
      text += part.has("value") && !part.has("text") ? part.at("value").as_string() : part.at("text").as_string();
    }
  }
  if (!layout_.takes_parts_only()) return text;
  return Json::array({{{"type", "text"}, {"text", text}}});
}

namespace {

/// One call as templates know it; arguments as the template takes them.
Json call_of(const JsonView& call, bool arguments_as_text) {
  if (!call.is_object()) call.fail("expected a call such as {\"function\": {\"name\", \"arguments\"}}");
  Json out = call.raw();
  Json& function = out.contains("function") && out["function"].is_object() ? out["function"] : out;
  const auto arguments = function.find("arguments");
  if (arguments == function.end()) return out;
  if (arguments->is_string() && !arguments_as_text) {
    // OpenAI's are JSON in a string: a template that writes them as JSON would quote them once more.
    if (auto object = parsed(arguments->get<std::string>(), call.where()); object && object->is_object())
      *arguments = std::move(*object);
  } else if (!arguments->is_string() && arguments_as_text) {
    *arguments = python_json(*arguments);
  }
  return out;
}

}  // namespace

std::optional<Json> calls_in(const std::string& text, const std::string& where) {
  std::optional<Json> found = parsed(text, where);
  if (found && found->is_object()) found = Json::array({*found});
  if (!found || !found->is_array() || found->empty()) return std::nullopt;
  Json calls = Json::array();
  for (const Json& one : *found) {
    if (!one.is_object() || !one.contains("name")) return std::nullopt;
    calls.push_back({{"type", "function"}, {"function", one}});
  }
  return calls;
}

/// "tool_calls", or the older "function_call", of a turn.
void TurnReader::add_calls(const JsonView& element, Json& turn) {
  for (const char* key : {"tool_calls", "function_call"}) {
    if (!element.has(key) || is_empty(element.at(key))) continue;
    if (!layout_.has_template()) {
      element.fail(std::string("the turn calls a tool in \"") + key +
                   "\", and the plain layout, which is used for models without a chat template, has no place for "
                   "calls; write the call out as the turn's content");
    }
    if (!layout_.reads("tool_calls")) {
      element.fail(std::string("the turn calls a tool in \"") + key + "\", and the chat template (" +
                   layout_.main_template().name() +
                   ") has no place for tool_calls, so that an answer without the call would be learned; give one that "
                   "has with `chat-template`, or write the call out as the turn's content");
    }
    const JsonView value = element.at(key);
    Json calls = Json::array();
    if (value.is_array()) {
      for (std::size_t i = 0; i < value.size(); ++i)
        calls.push_back(call_of(value.at(i), layout_.takes_arguments_as_text()));
    } else {
      const Json one = call_of(value, layout_.takes_arguments_as_text());
      calls.push_back(one.contains("function") ? one : Json{{"type", "function"}, {"function", one}});
    }
    turn["tool_calls"] = std::move(calls);
  }
}

/// A turn of this role, with whatever else the element has.
Json TurnReader::with_role(const JsonView& element, const std::string& role, const JsonView* content) {
  Json turn = {{"role", role == kCall ? "assistant" : role}};
  if (content != nullptr) {
    turn["content"] = content_of(*content);
    const bool written_out =
        role == kCall && layout_.has_template() && layout_.reads("tool_calls") && content->is_string();
    if (auto calls = written_out ? calls_in(content->as_string(), content->where()) : std::nullopt) {
      turn["content"] = nullptr;
      turn["tool_calls"] = Json::array();
      for (const Json& one : *calls)
        turn["tool_calls"].push_back(call_of({one, content->where()}, layout_.takes_arguments_as_text()));
    }
  }
  add_calls(element, turn);
  return turn;
}

void TurnReader::add(const JsonView& element, Conversation& conversation) {
  std::vector<std::string> read(kMuteKeys.begin(), kMuteKeys.end());
  read.insert(read.end(), {"tool_calls", "function_call"});
  const bool muted = is_muted(element);
  const std::vector<std::string> keys = element.is_object() ? element.keys() : std::vector<std::string>();
  const char* const role = first_of(kRoleKeys, element);
  const auto is_role = [](const std::string& key) { return known_role(key).has_value(); };
  const std::size_t first = conversation.turns.size();
  if (role == nullptr && std::any_of(keys.begin(), keys.end(), is_role)) {
    for (const std::string& key : keys) {  // roles as keys
      if (!is_role(key)) continue;
      const JsonView content = element.at(key);
      conversation.turns.push_back(with_role(element, role_of(key, element.where()), &content));
      read.push_back(key);
    }
  } else {
    if (role == nullptr) element.fail("a turn names its role under \"role\" or \"from\", " + keys_found(keys));
    const char* const content = first_of(kContentKeys, element);
    const std::string name = role_of(element.at(role).as_string(), element.at(role).where());
    const bool calls = (element.has("tool_calls") && !is_empty(element.at("tool_calls"))) ||
                       (element.has("function_call") && !is_empty(element.at("function_call")));
    if (content == nullptr && !calls) {
      element.fail("a turn has its text under \"content\", \"value\" or \"text\", " + keys_found(keys));
    }
    if (content != nullptr) {
      const JsonView value = element.at(content);
      if (value.is_null() && !calls) value.fail("expected text, found null and no tool_calls beside it");
      conversation.turns.push_back(with_role(element, name, &value));
    } else {
      conversation.turns.push_back(with_role(element, name, nullptr));
    }
    read.emplace_back(role);
    if (content != nullptr) read.emplace_back(content);
  }
  Json& turn = conversation.turns[first];
  bool thoughts = false;
  for (const std::string& key : keys) {
    if (std::find(read.begin(), read.end(), key) != read.end() || element.at(key).is_null()) continue;
    const bool reasoning = key == "reasoning_content" || key == "thinking" || key == "reasoning";
    if (!layout_.has_template()) {
      ++notes_.unread[key];
      continue;
    }
    turn[key] = element.at(key).raw();
    // transformers gives the first three names of reasoning to templates as each of the first two.
    const bool used = reasoning ? layout_.shows_thoughts() : layout_.reads(key);
    if (reasoning && !used) thoughts = thoughts || !is_empty(element.at(key));
    if (!reasoning && !used) ++notes_.unread[key];
  }
  notes_.unused_thoughts += thoughts ? 1 : 0;
  conversation.muted.resize(conversation.turns.size(), muted);
}

void TurnReader::mute(const JsonView& mask, std::size_t before, Conversation& conversation) const {
  const std::size_t turns = conversation.turns.size() - before;
  if (mask.is_string()) {
    std::string role = mask.as_string();
    std::transform(role.begin(), role.end(), role.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    for (std::size_t i = before; i < conversation.turns.size(); ++i) {
      if (conversation.turns[i]["role"] == usual_role(role)) conversation.muted[i] = true;
    }
    return;
  }
  if (!mask.is_array() || mask.size() != turns) {
    mask.fail("expected a list of " + std::to_string(turns) + " values, 0 (context only) or 1 (learned) for each turn" +
              (mask.is_array() ? ", found " + std::to_string(mask.size()) : ""));
  }
  for (std::size_t i = 0; i < turns; ++i) {
    if (says_no(mask.at(i))) conversation.muted[before + i] = true;
  }
}

/// What a row has beside its turns, which begin with `before`.
void TurnReader::end(const JsonView& row, std::size_t before, Conversation& conversation) {
  if (row.has_value("mask")) mute(row.at("mask"), before, conversation);
  if (!layout_.has_template()) return;
  const auto list = [&](const char* key) -> Json {
    if (!row.has(key) || is_empty(row.at(key))) return nullptr;
    const JsonView value = row.at(key);
    Json found = value.raw();
    if (value.is_string()) {
      auto read = parsed(value.as_string(), value.where());
      if (!read) value.fail("expected a list, or a string that holds one as JSON");
      found = std::move(*read);
    }
    if (found.is_object()) found = Json::array({found});
    if (!found.is_array()) value.fail("expected a list");
    for (Json& one : found) {
      if (!one.is_string()) continue;
      if (auto read = parsed(one.get<std::string>(), value.where()); read && read->is_object()) one = std::move(*read);
    }
    return found.empty() ? Json() : found;
  };
  conversation.tools = list("tools");
  if (conversation.tools.is_null()) conversation.tools = list("functions");
  conversation.documents = list("documents");
  if (row.has_value("chat_template_kwargs")) {
    const JsonView arguments = row.at("chat_template_kwargs");
    if (!arguments.is_object()) arguments.fail("expected an object of the template's variables");
    conversation.arguments = arguments.raw();
  }
  if (!conversation.tools.is_null() && !layout_.reads("tools")) ++notes_.unused_tools;
}

void TurnReader::begin(const JsonView& row, Conversation& conversation) {
  layout_.check();
  const std::string system = row.has_value("system") ? row.at("system").as_string() : "";
  if (system.empty()) return;
  conversation.turns.push_back({{"role", "system"}, {"content", content_of({system, row.where()})}});
  conversation.muted.push_back(false);
}

void TurnReader::add_all(const JsonView& turns, Conversation& conversation) {
  if (turns.is_object()) return add(turns, conversation);
  if (turns.is_string()) {  // as tables have them
    const std::string text = turns.as_string();
    if (text.find_first_not_of(" \t\r\n") == text.npos || text[text.find_first_not_of(" \t\r\n")] != '[') {
      turns.fail("expected an array of turns, or one as JSON in a string, found the string '" + core::printable(text, 40) + "'");
    }
    const Json parsed = parse_row(text, turns.where());
    return add_all({parsed, turns.where()}, conversation);
  }
  if (!turns.is_array()) turns.fail("expected an array of turns, found " + std::string(turns.raw().type_name()));
  for (std::size_t i = 0; i < turns.size(); ++i) add(turns.at(i), conversation);
}

Conversation TurnReader::read(const JsonView& turns, const JsonView& row) {
  Conversation conversation;
  begin(row, conversation);
  const std::size_t before = conversation.turns.size();
  add_all(turns, conversation);
  if (conversation.turns.size() == before) turns.fail("there are no turns; take the row out");
  end(row, before, conversation);
  return conversation;
}

Conversation TurnReader::read(const JsonView& turns) {
  static const Json kNothing = Json::object();
  return read(turns, {kNothing, turns.where()});
}

std::optional<Conversation> TurnReader::read_prompt(const JsonView& row) {
  const char* key = row.is_array() ? "" : turns_key(row);
  if (key == nullptr) return std::nullopt;
  Conversation conversation = row.is_array() ? read(row) : read(row.at(key), row);
  while (!conversation.turns.empty() && conversation.turns.back()["role"] == "assistant") {
    conversation.turns.erase(conversation.turns.size() - 1);
    conversation.muted.pop_back();
  }
  if (conversation.turns.empty()) throw DataError(row.where() + ": there is no turn to answer");
  return conversation;
}

Conversation TurnReader::read_answer(const JsonView& prompt, const JsonView& answer, const JsonView& row) {
  Conversation conversation;
  begin(row, conversation);
  const std::size_t before = conversation.turns.size();
  add_all(prompt, conversation);
  conversation.prompt = conversation.turns.size();
  add_all(answer, conversation);
  end(row, before, conversation);
  return conversation;
}

}  // namespace lowrank::data
