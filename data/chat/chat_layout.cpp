#include "lowrank/data/chat/chat_layout.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"
#include "lowrank/data/chat/find_template.h"

namespace lowrank::data {
namespace {

using core::Json;

constexpr const char* kNeedle = "NEEDLE";

bool has_word(std::string_view text, std::string_view word) {
  const auto is_part = [&](std::size_t at) {
    return at < text.size() && (std::isalnum(static_cast<unsigned char>(text[at])) != 0 || text[at] == '_');
  };
  for (std::size_t at = text.find(word); at != text.npos; at = text.find(word, at + 1)) {
    if (!(at > 0 && is_part(at - 1)) && !is_part(at + word.size())) return true;
  }
  return false;
}

Json question(const Json& content) { return {{"role", "user"}, {"content", content}}; }

Json call(const Json& arguments) {
  const Json function = {{"name", "find"}, {"arguments", arguments}};
  return {{"role", "assistant"},
          {"content", ""},
          {"tool_calls", Json::array({{{"id", "call00001"}, {"type", "function"}, {"function", function}}})}};
}

}  // namespace

ChatLayout::ChatLayout(const Tokenizer& tokenizer, ChatTemplate chat_template, std::optional<ChatTemplate> for_tools,
                       ChatOptions options)
    : template_(std::move(chat_template)),
      for_tools_(std::move(for_tools)),
      special_tokens_(special_token_variables(tokenizer)),
      options_(std::move(options)) {
  probe();
}

ChatLayout ChatLayout::unusable(std::string why, ChatOptions options) {
  ChatLayout layout(std::move(options));
  layout.fault_ = std::move(why);
  return layout;
}

void ChatLayout::check() const {
  if (!fault_.empty()) throw FormatError(fault_);
}

const ChatTemplate& ChatLayout::template_for(const Conversation& conversation) const {
  check();
  const bool has_tools = conversation.tools.is_array() && !conversation.tools.empty();
  return has_tools && for_tools_ ? *for_tools_ : *template_;
}

bool ChatLayout::reads(std::string_view key) const {
  return (template_ && has_word(template_->source(), key)) || (for_tools_ && has_word(for_tools_->source(), key));
}

void ChatLayout::probe() {
  const auto rendered = [&](const Json& turns) -> std::optional<std::string> {
    Conversation conversation;
    conversation.turns = turns;
    try {
      return template_->render(conversation_variables(special_tokens_, conversation, options_), options_.date).text;
    } catch (const DataError&) {
      return std::nullopt;
    }
  };
  const auto holds = [](const std::optional<std::string>& text, std::string_view part) {
    return text && text->find(part) != std::string::npos;
  };
  const Json part = {{"type", "text"}, {"text", kNeedle}};
  const auto answered = [&](const Json& content, const char* thoughts) {
    Json turn = {{"role", "assistant"}, {"content", content}};
    if (thoughts != nullptr) turn["reasoning_content"] = thoughts;
    return rendered(Json::array({question("Q"), turn}));
  };
  parts_only_ = !holds(rendered(Json::array({question(kNeedle)})), kNeedle) &&
                holds(rendered(Json::array({question(Json::array({part}))})), kNeedle);
  const auto plain = parts_only_ ? Json::array({{{"type", "text"}, {"text", "A"}}}) : Json("A");
  shows_thoughts_ = holds(answered(plain, kNeedle), kNeedle) || (reads("reasoning_content") && !answered(plain, kNeedle));
  takes_thinking_parts_ = reads("thinking") && holds(answered(Json::array({{{"type", "thinking"}, {"thinking", kNeedle}}, {{"type", "text"}, {"text", "A"}}}), nullptr), kNeedle);
  if (!reads("tool_calls")) return;
  const Json asked = parts_only_ ? question(Json::array({part})) : question(kNeedle);
  const auto with_call = [&](const Json& arguments) { return rendered(Json::array({asked, call(arguments)})); };
  const auto without_content = [&](const Json& arguments) -> std::optional<std::string> {
    Conversation conversation;
    conversation.turns = Json::array({asked, call(arguments)});
    conversation.turns[1].erase("content");
    try {
      return conversation_rendering(*template_, special_tokens_, conversation, options_, true);
    } catch (const DataError&) {
      return std::nullopt;
    }
  };
  const std::string text = R"({"city": "NEEDLE"})";
  // A template that joins strings cannot take an object, or writes it as Python would. Some look at calls only where there is no content.
  const auto wants_text = [&](const auto& render) {
    const std::optional<std::string> as_object = render(Json{{"city", kNeedle}});
    return (!as_object || holds(as_object, "{'city': 'NEEDLE'}")) && holds(render(Json(text)), text);
  };
  arguments_as_text_ = wants_text(with_call) || wants_text(without_content);
}

ConversationTexts ChatLayout::texts(const Conversation& conversation) const {
  return conversation_texts(template_for(conversation), special_tokens_, conversation, options_);
}

std::string ChatLayout::prompt(const Conversation& conversation) const {
  return conversation_rendering(template_for(conversation), special_tokens_, conversation, options_, true);
}

ConversationTexts ChatLayout::whole(const Conversation& conversation) const {
  const ChatTemplate& chat_template = template_for(conversation);
  ConversationText text{conversation_rendering(chat_template, special_tokens_, conversation, options_, false), {}};
  std::vector<ChatSpan> muted;
  if (std::find(conversation.muted.begin(), conversation.muted.end(), true) != conversation.muted.end()) {
    ChatOptions options = options_;
    options.loss_on = LossOn::kAllAssistant;
    Conversation unmuted = conversation;
    unmuted.prompt = 0;
    const ConversationTexts learned = conversation_texts(chat_template, special_tokens_, unmuted, options);
    unmuted.muted.clear();
    const ConversationTexts all = conversation_texts(chat_template, special_tokens_, unmuted, options);
    if (all.from == MaskFrom::kTurns) {
      throw DataError(chat_template.name() +
                      ": a conversation with turns that are not to be learned, which the template rewrites as it goes "
                      "on, cannot be learned whole; leave `train-on-prompt` out");
    }
    const std::vector<ChatSpan>& kept = learned.texts.front().learned;
    for (const ChatSpan& span : all.texts.front().learned) {
      if (std::find(kept.begin(), kept.end(), span) == kept.end()) muted.push_back(span);
    }
  }
  std::size_t at = 0;
  for (const ChatSpan& span : muted) {
    if (at < span.begin) text.learned.push_back({at, span.begin});
    at = span.end;
  }
  if (at < text.text.size()) text.learned.push_back({at, text.text.size()});
  return {MaskFrom::kPrefixes, {std::move(text)}};
}

std::optional<TokenId> ChatLayout::turn_end(const Tokenizer& tokenizer) const {
  if (!template_) return tokenizer.eos();
  const auto content = [&](const char* text) {
    return parts_only_ ? Json::array({{{"type", "text"}, {"text", text}}}) : Json(text);
  };
  // The special tokens that follow an answer, up to text that is not blank.
  const auto behind = [&](bool goes_on) {
    Conversation conversation;
    conversation.turns = Json::array({question(content("Q")), {{"role", "assistant"}, {"content", content(kNeedle)}}});
    if (goes_on) conversation.turns.push_back(question(content("Q")));
    std::vector<TokenId> found;
    try {
      const std::string text = template_->render(conversation_variables(special_tokens_, conversation, options_), options_.date).text;
      const std::size_t answer = text.rfind(kNeedle);
      if (answer == std::string::npos) return found;
      for (const TokenId id : tokenizer.encode(text.substr(answer + std::string_view(kNeedle).size()), false)) {
        if (tokenizer.is_special(id)) {
          found.push_back(id);
        } else if (tokenizer.decode(std::array{id}).find_first_not_of(" \t\r\n") != std::string::npos) {
          break;  // where it is the first, the turn is ended by that
        }
      }
    } catch (const DataError&) {
    }
    return found;
  };
  const std::vector<TokenId> last = behind(false);
  if (last.empty()) return std::nullopt;
  // A part of a turn may have an end of its own before the turn's (Command R7B), and a text one behind its last turn (Phi-3).
  const std::vector<TokenId> within = behind(true);
  if (tokenizer.eos() && std::find(within.begin(), within.end(), *tokenizer.eos()) != within.end()) return tokenizer.eos();
  return last.front();
}

std::string ChatLayout::identity() const {
  std::string all = template_ ? template_->source() : fault_.empty() ? "plain" : fault_;
  if (for_tools_) all += '\n' + for_tools_->source();
  all += '\n' + core::json_text(options_.arguments) + '\n' + core::json_text(special_tokens_) + '\n' +
         std::to_string(static_cast<int>(options_.loss_on));
  for (const std::string& role : options_.roles) all += '\n' + role;
  if (options_.date && asks_for_date()) all += '\n' + chat_date_text(*options_.date);
  return core::sha256(all);
}

std::shared_ptr<const ChatLayout> find_chat_layout(const Tokenizer& tokenizer,
                                                   const std::vector<std::filesystem::path>& folders,
                                                   const ChatRequest& request) {
  if (request.file) {
    return std::make_shared<ChatLayout>(tokenizer, load_chat_template(*request.file), std::nullopt, request.options);
  }
  try {
    std::optional<ChatTemplate> found = request.plain ? std::nullopt : find_chat_template(folders, false);
    if (!found) return std::make_shared<ChatLayout>(request.options);
    std::optional<ChatTemplate> for_tools = find_chat_template(folders, true);
    if (for_tools && for_tools->source() == found->source()) for_tools.reset();
    return std::make_shared<ChatLayout>(tokenizer, std::move(*found), std::move(for_tools), request.options);
  } catch (const FormatError& error) {
    return std::make_shared<ChatLayout>(ChatLayout::unusable(error.what(), request.options));
  }
}

std::shared_ptr<const ChatLayout> chat_layout_of(const Tokenizer& tokenizer) {
  if (!tokenizer.has_chat_template()) return std::make_shared<ChatLayout>();
  if (tokenizer.files().empty()) {
    return std::make_shared<ChatLayout>(
        ChatLayout::unusable("the tokenizer has a chat template that stands in no folder; give it as DataOptions::chat "
                             "(find_chat_layout)",
                             {}));
  }
  ChatRequest request;
  request.options.date = today();
  return find_chat_layout(tokenizer, {tokenizer.files().front().parent_path()}, request);
}

}  // namespace lowrank::data
