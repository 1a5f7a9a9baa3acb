// Conversations in the plain role layout, for models without a chat template.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/data/chat/chat_layout.h"
#include "lowrank/data/rows.h"

namespace lowrank::data {

/// "System: …\n\n", "User: …\n", "Assistant: …" and the end token (without one: an empty line), "Tool: …\n", of turns
/// as TurnReader reads them for the plain layout. Learned of an answer is what follows "Assistant:" and the end, of
/// another turn all of it, where `options` say so and the turn is not muted.
std::vector<Span> conversation_spans(const Conversation& conversation, const ChatOptions& options, bool has_end_token);

/// The layout in one line, for the report.
std::string conversation_layout(bool has_end_token);

/// How the conversations of a data set were laid out, for the report.
struct LayoutUse {
  std::int64_t plain = 0, marked = 0, by_prefixes = 0, by_turns = 0;  // conversations, by how their masks were found
  std::int64_t texts_of_turns = 0;                                    // of by_turns
  void add(const ConversationTexts& texts) { add(texts.from, static_cast<std::int64_t>(texts.texts.size())); }
  void add(MaskFrom from, std::int64_t texts);
  bool any() const { return plain + marked + by_prefixes + by_turns > 0; }
};
/// In sentences: layout, what is learned (`all`: of prompts too) and how it was found.
std::vector<std::string> layout_notes(const ChatLayout& layout, const LayoutUse& use, bool has_end_token, bool all = false);

/// Whether none of the answers that are learned says anything.
bool is_blank(const Conversation& conversation, const ChatOptions& options);

/// The ids of a conversation up to where the next answer begins: what a model is given at inference, tokenized as in
/// training. By the template of the layout, or up to "Assistant:" of the plain one.
std::vector<TokenId> conversation_prompt_ids(const Tokenizer& tokenizer, const ChatLayout& layout,
                                             const Conversation& conversation);

}  // namespace lowrank::data
