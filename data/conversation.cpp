#include "lowrank/data/conversation.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/text.h"
#include "lowrank/data/text_documents.h"

namespace lowrank::data {
namespace {

std::string text_of(const core::Json& turn) {
  const auto content = turn.find("content");
  return content != turn.end() && content->is_string() ? content->get<std::string>() : "";
}

}  // namespace

std::vector<Span> conversation_spans(const Conversation& conversation, const ChatOptions& options, bool has_end_token) {
  std::vector<Span> spans;
  const std::vector<bool> learned = learned_turns(conversation, options);
  for (std::size_t i = 0; i < learned.size(); ++i) {
    const std::string role = conversation.turns[i]["role"].get<std::string>();
    const std::string content = text_of(conversation.turns[i]);
    const bool muted = i < conversation.muted.size() && conversation.muted[i];  // even where prompts are learned
    if (role == "system" || role == "developer") {
      spans.push_back({"System: " + content + "\n\n", learned[i], false, muted});
    } else if (role == "user") {
      spans.push_back({"User: " + content + "\n", learned[i], false, muted});
    } else if (role == "tool") {
      spans.push_back({"Tool: " + content + "\n", learned[i], false, muted});
    } else {
      // The space belongs to the answer: a prompt that ends in "Assistant:" then continues as it was learned.
      spans.push_back({"Assistant:"});
      spans.push_back({" " + content + (has_end_token ? "" : "\n\n"), learned[i], true, muted});
    }
  }
  return spans;
}

std::string conversation_layout(bool has_end_token) {
  return fmt::format("conversations are laid out as \"System: …\\n\\n\", \"User: …\\n\", \"Assistant: …\" and {}, since the model has no "
                     "chat template",
                     has_end_token ? "the end token" : "an empty line");
}

void LayoutUse::add(MaskFrom from, std::int64_t texts) {
  switch (from) {
    case MaskFrom::kGeneration:
      ++marked;
      break;
    case MaskFrom::kPrefixes:
      ++by_prefixes;
      break;
    case MaskFrom::kTurns:
      ++by_turns;
      texts_of_turns += texts;
      break;
  }
}

std::vector<std::string> layout_notes(const ChatLayout& layout, const LayoutUse& use, bool has_end_token, bool all) {
  if (!use.any()) return {};
  std::string what = "the assistant's turns and their ends";
  if (layout.options().loss_on == LossOn::kLast) what = "the assistant's last turn and its end";
  if (layout.options().loss_on == LossOn::kRoles) {
    std::string roles;
    for (const std::string& role : layout.options().roles) roles += (roles.empty() ? "" : ", ") + role;
    what = "the turns of " + roles;
  }
  if (all) what = "every turn, as `train-on-prompt` says";
  if (use.plain > 0) return {conversation_layout(has_end_token) + "; learned: " + what};
  std::vector<std::string> notes = {
      "conversations are laid out by the chat template " + layout.main_template().name() + "; learned: " + what +
      (all ? "" : use.marked > 0 ? ", as the template marks them" : ", from where the generation prompt ends")};
  if (use.by_turns > 0) {
    notes.push_back("the template rewrites what was said before in " + core::format_count(use.by_turns) +
                    " conversations (it drops earlier thoughts, say): each of their answers is an example of its own, "
                    "as inference would have shown it (" +
                    core::format_count(use.texts_of_turns) + " examples)");
  }
  return notes;
}

bool is_blank(const Conversation& conversation, const ChatOptions& options) {
  const std::vector<bool> learned = learned_turns(conversation, options);
  bool any = false;
  for (std::size_t i = 0; i < learned.size(); ++i) {
    if (!learned[i]) continue;
    any = true;
    const core::Json& turn = conversation.turns[i];
    const auto content = turn.find("content");
    const bool text = content != turn.end() && content->is_string() && is_blank(content->get<std::string>());
    const bool none = content == turn.end() || content->is_null();
    if ((!text && !none) || turn.contains("tool_calls")) return false;
  }
  return any;
}

std::vector<TokenId> conversation_prompt_ids(const Tokenizer& tokenizer, const ChatLayout& layout,
                                             const Conversation& conversation) {
  if (layout.has_template()) return tokenizer.encode(layout.prompt(conversation), false);
  const bool ends = tokenizer.eos().has_value();
  std::vector<Span> spans = conversation_spans(conversation, layout.options(), ends);
  spans.push_back({"Assistant:"});
  std::vector<TokenId> ids;
  std::string text;
  bool first = true;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    text += spans[i].text;
    if (!spans[i].ends && i + 1 < spans.size()) continue;
    std::vector<TokenId> part = tokenizer.encode(text, first);
    if (first && tokenizer.adds_eos() && !part.empty() && part.back() == tokenizer.eos()) part.pop_back();
    ids.insert(ids.end(), part.begin(), part.end());
    if (spans[i].ends && ends) ids.push_back(*tokenizer.eos());
    first = false;
    text.clear();
  }
  return ids;
}

}  // namespace lowrank::data
