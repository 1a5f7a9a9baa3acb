// A conversation as texts to train on: laid out by the model's chat template, with what is learned marked.
#pragma once

#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/chat/chat_template.h"
#include "lowrank/data/example.h"
#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::data {

enum class LossOn {
  kAllAssistant,  // every turn of the assistant
  kLast,          // its last one
  kRoles          // every turn of the roles named
};

struct ChatOptions {
  core::Json arguments = core::Json::object();  // further variables of the template: {"enable_thinking": false}
  std::optional<ChatDate> date;                 // for templates that ask for today's
  LossOn loss_on = LossOn::kAllAssistant;
  std::vector<std::string> roles;  // of kRoles
  ChatLimits limits;
};

struct Conversation {
  core::Json turns = core::Json::array();       // [{"role", "content", …}]
  core::Json tools, documents;                  // null: none
  std::size_t prompt = 0;                       // the first so many turns are a prompt, which is not learned
  std::vector<bool> muted;                      // turns that are context only ("weight": 0); empty: none
  core::Json arguments = core::Json::object();  // variables of this conversation alone, before those of ChatOptions
};

/// How the learned stretches were found.
enum class MaskFrom {
  kGeneration,  // the template marks them
  kPrefixes,    // the rendering up to a turn is the beginning of the whole
  kTurns  // it is not (the template rewrites the past): each turn as inference would have shown it, one text a turn
};

struct ConversationText {
  std::string text;
  std::vector<ChatSpan> learned;
};

struct ConversationTexts {
  MaskFrom from = MaskFrom::kPrefixes;
  std::vector<ConversationText> texts;
};

/// The bos_token, eos_token, pad_token and unk_token of a tokenizer, as templates know them.
core::Json special_token_variables(const Tokenizer& tokenizer);

/// Which turns are learned: by their roles, what is muted, and where the prompt ends.
std::vector<bool> learned_turns(const Conversation& conversation, const ChatOptions& options);

/// What a template is rendered with: the turns as transformers gives them, tools, documents, further variables, and no
/// generation prompt.
core::Json conversation_variables(const core::Json& special_tokens, const Conversation& conversation,
                                  const ChatOptions& options);

/// The text of a conversation, with the prompt that asks for the next answer where `with_prompt`: what a model is given at inference.
/// DataError: what the template raises, and a turn whose calls of tools it leaves out.
std::string conversation_rendering(const ChatTemplate& chat_template, const core::Json& special_tokens, const Conversation& conversation,
                                   const ChatOptions& options, bool with_prompt);

/// Lays out a conversation. Learned of a turn is what follows the generation prompt: answer, calls, thoughts and the
/// turn's end, but not an empty think block that the template itself puts there. A text where nothing is learned is
/// there all the same. DataError: what the template raises, or a turn whose place in the text cannot be told.
ConversationTexts conversation_texts(const ChatTemplate& chat_template, const core::Json& special_tokens,
                                     const Conversation& conversation, const ChatOptions& options = {});

/// Token ids and mask of one text; BOS only where the template wrote it, as at inference.
Example encode_conversation(const Tokenizer& tokenizer, const ConversationText& text);

}  // namespace lowrank::data
