// How the conversations of a data set become text: a model's chat template with what it is given, or, for models that
// have none, the plain role layout.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/data/chat/chat_template.h"
#include "lowrank/data/chat/conversation_text.h"

namespace lowrank::data {

/// What is asked for.
struct ChatRequest {
  std::optional<std::filesystem::path> file;  // a template of its own, before those of the folders
  bool plain = false;                         // the plain role layout, whatever the model has
  ChatOptions options;
};

class ChatLayout {
 public:
  /// The plain role layout.
  explicit ChatLayout(ChatOptions options = {}) : options_(std::move(options)) {}
  /// A template; `for_tools`: the one for conversations with tools, where it is another.
  ChatLayout(const Tokenizer& tokenizer, ChatTemplate chat_template, std::optional<ChatTemplate> for_tools,
             ChatOptions options);

  /// A template that there is but cannot be used: check(), texts() and prompt() throw FormatError with `why`.
  static ChatLayout unusable(std::string why, ChatOptions options);

  bool has_template() const { return template_.has_value() || !fault_.empty(); }
  void check() const;
  /// Only with has_template(): the one that this conversation is laid out by.
  const ChatTemplate& template_for(const Conversation& conversation) const;
  const ChatTemplate& main_template() const { return check(), *template_; }
  /// The one for conversations with tools, where it is another; else null.
  const ChatTemplate* tool_template() const { return for_tools_ ? &*for_tools_ : nullptr; }
  const ChatOptions& options() const { return options_; }

  /// Whether a template speaks of this key of a turn ("tool_calls") or this variable ("tools").
  bool reads(std::string_view key) const;
  /// Whether a template may ask for today's date.
  bool asks_for_date() const { return reads("strftime_now"); }
  /// Templates differ in what they take. Content as a list of parts alone, not as text:
  bool takes_parts_only() const { return parts_only_; }
  /// Arguments of calls as JSON in a string, not as objects:
  bool takes_arguments_as_text() const { return arguments_as_text_; }

  /// The reasoning that stands beside an answer, at least of the last one; and parts of type "thinking" among its content:
  bool shows_thoughts() const { return shows_thoughts_; }
  bool takes_thinking_parts() const { return takes_thinking_parts_; }

  /// The texts of a conversation, and the rendering that asks for the next answer; only with has_template(). DataError
  /// as conversation_texts.
  ConversationTexts texts(const Conversation& conversation) const;
  std::string prompt(const Conversation& conversation) const;
  /// The whole of it as one text that is learned, prompts and all, but for the turns of the assistant that are muted.
  ConversationTexts whole(const Conversation& conversation) const;
  /// The token that ends an answer: the first special one behind it. Nothing where a text does, or it cannot be told.
  std::optional<TokenId> turn_end(const Tokenizer& tokenizer) const;

  /// Whatever decides the texts: templates, variables, date where it is asked for, what is learned.
  std::string identity() const;

 private:
  void probe();

  std::optional<ChatTemplate> template_, for_tools_;
  core::Json special_tokens_ = core::Json::object();
  ChatOptions options_;
  bool parts_only_ = false, arguments_as_text_ = false, shows_thoughts_ = false, takes_thinking_parts_ = false;
  std::string fault_;
};

/// The layout for a model: by the file asked for, else by the templates of the first folder that has any (the adapter's
/// before the model's), else the plain one. A template of a folder that is none is unusable(): only conversations need
/// it. Errors of the file as load_chat_template, of several templates as find_chat_template.
std::shared_ptr<const ChatLayout> find_chat_layout(const Tokenizer& tokenizer,
                                                   const std::vector<std::filesystem::path>& folders,
                                                   const ChatRequest& request = {});

/// The layout for a tokenizer that was loaded from a model's folder, with today's date; unusable() where it has a
/// chat template and no folder.
std::shared_ptr<const ChatLayout> chat_layout_of(const Tokenizer& tokenizer);

/// "2026-11-30", "2026-11-30 09:30", "2026-11-30 09:30:00", or with a T. ConfigError for another text.
ChatDate parse_chat_date(const std::string& text);
std::string chat_date_text(const ChatDate& date);
/// The machine's date, at midnight: the hour a run begins in is none of its business.
ChatDate today();

}  // namespace lowrank::data
