// Turns of conversations in every spelling that data sets have, read into one.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/chat/chat_layout.h"

namespace lowrank::data {

/// What reading conversations found that should be said once.
struct TurnNotes {
  std::map<std::string, std::int64_t> unread;         // keys of turns, and how many turns have them
  std::map<std::string, std::int64_t> unknown_roles;  // that a template was given as they are
  std::int64_t unused_tools = 0;                      // conversations whose tools the layout has no place for
  std::int64_t unused_thoughts = 0;                   // turns whose reasoning it has no place for

  void add(const TurnNotes& other);
  /// A sentence each.
  std::vector<std::string> sentences() const;
};

/// The role that a name stands for ("gpt": assistant); the name itself where it is no known one.
std::string usual_role(const std::string& name);

/// The role that a turn names, by any spelling, as usual_role() has it; empty: none.
std::string named_role(const core::JsonView& turn);

/// Calls that are written out as a text, {"name", "arguments"} or a list of them, as "tool_calls" has them; nothing where it is another text.
std::optional<core::Json> calls_in(const std::string& text, const std::string& where);

/// Whether a value is a list of turns: an array of objects that name a role.
bool looks_like_turns(const core::JsonView& value);

/// The key of a row under which its turns stand: "messages", "conversations", "conversation" or "dialog", or "prompt"
/// where that is a list of turns. Null where none does.
const char* turns_key(const core::JsonView& row);

/// Keys of a row, beside its turns, that conversations are read from: system, tools, functions, documents, mask,
/// chat_template_kwargs. Of the plain layout only system and mask.
const std::vector<std::string>& conversation_row_keys(bool has_template);

/// Reads conversations for a layout.
///
/// A turn names its role under "role", "from" or "speaker", or as a key ({"user": "…", "assistant": "…"}: a turn each),
/// and has its text under "content", "value", "text" or "message"; roles go by their usual names (human: user; gpt, model: assistant; observation, function, ipython: tool; function_call: a
/// call of the assistant). Content is a string, a list of text parts, or null. "weight" and "loss_weight" 0, "train",
/// "training", "trainable" and "loss" false, and the row's "mask" (a list of 0 and 1, one a turn; NeMo's: the role that is not learned) mute a turn.
/// A template is given whatever else a turn has; the plain layout refuses calls of tools.
class TurnReader {
 public:
  /// `layout` must outlive the reader.
  explicit TurnReader(const ChatLayout& layout) : layout_(layout) {}

  /// `row`: where system, tools, documents, mask and the like stand; an object, or null for none of them. DataError: an
  /// unknown role, calls that the layout has no place for; FormatError: a wrong type.
  Conversation read(const core::JsonView& turns, const core::JsonView& row);
  /// The turns of an array alone.
  Conversation read(const core::JsonView& turns);
  /// The conversation of a row as a prompt: an answer at its end is left off. Nothing where the row has no turns.
  std::optional<Conversation> read_prompt(const core::JsonView& row);
  /// A prompt and what answers it, each a list of turns or a single one; those of the prompt are context only.
  Conversation read_answer(const core::JsonView& prompt, const core::JsonView& answer, const core::JsonView& row);

  const TurnNotes& notes() const { return notes_; }

 private:
  void begin(const core::JsonView& row, Conversation& conversation);
  void add_all(const core::JsonView& turns, Conversation& conversation);
  void add(const core::JsonView& element, Conversation& conversation);
  core::Json with_role(const core::JsonView& element, const std::string& role, const core::JsonView* content);
  core::Json content_of(const core::JsonView& value) const;
  void add_calls(const core::JsonView& element, core::Json& turn);
  void end(const core::JsonView& row, std::size_t before, Conversation& conversation);
  void mute(const core::JsonView& mask, std::size_t before, Conversation& conversation) const;
  std::string role_of(const std::string& name, const std::string& where);

  const ChatLayout& layout_;
  TurnNotes notes_;
};

}  // namespace lowrank::data
