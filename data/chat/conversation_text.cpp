#include "lowrank/data/chat/conversation_text.h"

#include <algorithm>
#include <array>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/data/chat/characters.h"
#include "lowrank/data/chat/messages.h"
#include "lowrank/data/chat/token_mask.h"

namespace lowrank::data {
namespace {

/// How far `text` begins as `beginning` does. Where it does not have all of it, what both have ends between characters
/// and not inside a tag that both have only begun ("<" of "</s>" and of "<|user|>").
std::size_t common_prefix(std::string_view beginning, std::string_view text) {
  const auto differ = std::mismatch(beginning.begin(), beginning.end(), text.begin(), text.end()).first;
  auto n = static_cast<std::size_t>(differ - beginning.begin());
  if (n == beginning.size()) return n;
  while (n > 0 && (static_cast<unsigned char>(beginning[n]) & 0xC0) == 0x80) --n;
  constexpr std::size_t kLongestTag = 32;
  const std::string_view last = beginning.substr(n < kLongestTag ? 0 : n - kLongestTag, std::min(n, kLongestTag));
  const std::size_t open = last.find_last_of("<[");
  if (open == std::string_view::npos || last.find_first_of(">] \n", open) != std::string_view::npos) return n;
  return n - (last.size() - open);
}

std::string role_of(const core::Json& turn) {
  const auto it = turn.find("role");
  return it != turn.end() && it->is_string() ? it->get<std::string>() : "";
}

/// A turn's content without blanks at its ends; empty where it is no text.
std::string spoken_text(const core::Json& turn) {
  const auto content = turn.find("content");
  if (content == turn.end() || !content->is_string()) return "";
  return std::string(jinja::strip(content->get_ref<const std::string&>(), nullptr, true, true));
}

/// Where a template asks a call's content whether it is none, a turn without that key is an error of it: null is there then.
Rendering rendered(const ChatTemplate& chat_template, const core::Json& variables, const ChatOptions& options) {
  try {
    return chat_template.render(variables, options.date, options.limits);
  } catch (const DataError&) {
    core::Json with_null = variables;
    bool any = false;
    for (core::Json& turn : with_null["messages"]) {
      if (!turn.is_object() || !turn.contains("tool_calls") || turn.contains("content")) continue;
      turn["content"] = nullptr;
      any = true;
    }
    if (!any) throw;
    return chat_template.render(with_null, options.date, options.limits);
  }
}

/// Some templates write the calls of a turn only where it has no text. A turn whose text is blank has none then; DataError for one
/// that says something and whose calls are left out.
void keep_calls(const ChatTemplate& chat_template, core::Json& variables, const ChatOptions& options) {
  const core::Json messages = variables["messages"];
  const auto calls = [](const core::Json& turn) { return turn.is_object() && turn.contains("tool_calls") && !turn["tool_calls"].empty(); };
  if (std::none_of(messages.begin(), messages.end(), calls)) return;
  core::Json some = variables;
  const auto text_to = [&](std::size_t last, const core::Json& turn) -> std::optional<std::string> {
    some["messages"] = core::Json::array();
    for (std::size_t i = 0; i < last; ++i) some["messages"].push_back(variables["messages"][i]);
    some["messages"].push_back(turn);
    try {
      return rendered(chat_template, some, options).text;
    } catch (const DataError&) {
      return std::nullopt;  // said where it is rendered for itself
    }
  };
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const core::Json& turn = messages[i];
    if (!calls(turn)) continue;
    const auto left_out = [&](core::Json one) {
      const auto shown = text_to(i, one);
      one.erase("tool_calls");
      return !shown || shown == text_to(i, one);
    };
    if (!text_to(i, turn) || !left_out(turn)) continue;
    const bool says = turn.contains("content") && (!turn["content"].is_string() || !spoken_text(turn).empty());
    core::Json none = turn;
    none["content"] = nullptr;
    if (!says && !left_out(none)) {
      variables["messages"][i] = none;
      continue;
    }
    throw DataError("turn " + std::to_string(i + 1) + " calls a tool, and the chat template (" + chat_template.name() + ") leaves the call out" +
                    (says ? " beside the turn's text; take the text out, or give another with `chat-template`"
                          : "; give another with `chat-template`, or write the call out as the turn's content"));
  }
}

/// Renders beginnings of one conversation.
class Renderer {
 public:
  Renderer(const ChatTemplate& chat_template, const core::Json& special_tokens, const Conversation& conversation,
           const ChatOptions& options)
      : template_(chat_template),
        options_(options),
        variables_(conversation_variables(special_tokens, conversation, options)) {
    keep_calls(template_, variables_, options_);
    turns_ = variables_["messages"];
  }

  Rendering operator()(std::size_t turns, bool with_prompt) {
    core::Json messages = core::Json::array();
    for (std::size_t i = 0; i < turns; ++i) messages.push_back(turns_[i]);
    variables_["messages"] = std::move(messages);
    variables_["add_generation_prompt"] = with_prompt;
    return rendered(template_, variables_, options_);
  }

  const core::Json& turns() const { return turns_; }
  const std::string& name() const { return template_.name(); }
  /// The token that ends a text, as the template knows it; empty: none.
  std::string end_of_text() const {
    const auto token = variables_.find("eos_token");
    return token != variables_.end() && token->is_string() ? token->get<std::string>() : "";
  }

 private:
  const ChatTemplate& template_;
  const ChatOptions& options_;
  core::Json variables_, turns_;
};

/// Length of an empty think block at the begin of an answer that has none of its own.
std::size_t empty_thoughts(std::string_view answer, const core::Json& turn) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kTags = {
      {{"<think>", "</think>"},
       {"<thinking>", "</thinking>"},
       {"<|START_THINKING|>", "<|END_THINKING|>"},
       {"<|channel>thought", "<channel|>"}}};
  const auto it = turn.find("content");
  const std::string_view own =
      it != turn.end() && it->is_string() ? std::string_view(it->get_ref<const std::string&>()) : "";
  const auto skip_space = [&](std::size_t at) {
    return answer.size() - jinja::strip(answer.substr(at), nullptr, true, false).size();
  };
  for (const auto& [open, close] : kTags) {
    const std::size_t begin = skip_space(0);
    if (!answer.substr(begin).starts_with(open)) continue;
    const std::size_t end = skip_space(begin + open.size());
    if (!answer.substr(end).starts_with(close) || own.find(open) != std::string_view::npos) continue;
    return skip_space(end + close.size());
  }
  return 0;
}

/// The stretches that the template marks, without those of turns that are not learned.
std::vector<ChatSpan> marked(Renderer& render, const Rendering& whole, const std::vector<bool>& learned) {
  std::vector<ChatSpan> kept;
  std::size_t before = 0;
  for (std::size_t i = 0; i < learned.size(); ++i) {
    if (role_of(render.turns()[i]) != "assistant") continue;
    // How many the beginning has that ends with this turn says which are the turn's own.
    const std::size_t now = i + 1 == learned.size() ? whole.generated.size() : render(i + 1, false).generated.size();
    for (std::size_t s = before; s < std::min(now, whole.generated.size()); ++s) {
      if (learned[i]) kept.push_back(whole.generated[s]);
    }
    before = std::max(before, now);
  }
  return kept;
}

/// What the template puts before an answer to the first `turns` turns, or, where that cannot be told, to those up to a
/// turn that is no answer; empty where nothing tells.
std::string generation_prompt(Renderer& render, std::size_t turns) {
  const auto at = [&](std::size_t n) -> std::string {
    try {
      const std::string with = render(n, true).text, without = render(n, false).text;
      return with.starts_with(without) ? with.substr(without.size()) : "";
    } catch (const DataError&) {
      return "";
    }
  };
  std::string asked = at(turns);
  for (std::size_t n = 1; asked.empty() && n <= render.turns().size(); ++n) {
    if (role_of(render.turns()[n - 1]) != "assistant") asked = at(n);
  }
  return asked;
}

/// Where turn i begins to be the model's own, in a text that holds it: behind what both the prompt and the text have.
std::size_t answer_begin(Renderer& render, std::size_t i, const std::string& text, std::size_t from) {
  const core::Json& turn = render.turns()[i];
  if (role_of(turn) != "assistant") return i == 0 ? 0 : common_prefix(render(i, false).text, text);
  std::size_t begin = 0;
  if (i == 0) {
    // What a template writes before a conversation, it may not write before none: there its prompt is looked for.
    const std::string asked = generation_prompt(render, 0);
    const std::size_t found = asked.empty() ? std::string::npos : text.find(asked, from);
    if (found != std::string::npos) {
      begin = found + asked.size();
      return begin + empty_thoughts(std::string_view(text).substr(begin), turn);
    }
  }
  try {
    const std::string prompt = render(i, true).text;
    begin = common_prefix(prompt, text);
    // Where the text goes another way than the prompt, both may have letters that are the answer's ("Here are my" of a prompt that thinks).
    const std::string own = begin < prompt.size() ? spoken_text(turn) : "";
    const std::size_t place = own.empty() ? std::string::npos : text.find(own, common_prefix(render(i, false).text, text));
    if (place < begin && place + own.size() >= begin) begin = place;
  } catch (const DataError&) {
    // Many templates cannot render what stands before a conversation's first turn: there the content is looked for.
    const std::string own = spoken_text(turn);
    begin = own.empty() ? std::string::npos : text.find(own, from);
    if (begin == std::string::npos) {
      throw DataError(render.name() + ": where turn " + std::to_string(i + 1) +
                      " of the conversation begins cannot be told, since the template renders nothing before it");
    }
  }
  return begin + empty_thoughts(std::string_view(text).substr(begin), turn);
}

/// Whether the text of the turns before i is the beginning of the whole, up to `begin` at most.
bool continues(Renderer& render, std::size_t i, const std::string& whole, std::size_t begin) {
  if (i == 0) return true;
  std::string before;
  try {
    before = render(i, false).text;
  } catch (const DataError&) {
    return true;  // nothing to compare with: the turn's own content was found
  }
  const std::size_t common = common_prefix(before, whole);
  if (begin < common || !whole.ends_with(before.substr(common))) return false;
  // What the prompt of an answer has behind that is in the whole too.
  return begin > common || common == before.size() || role_of(render.turns()[i]) != "assistant" || generation_prompt(render, i).empty();
}

/// Where turn i ends in the whole as a turn that others follow: before the generation prompt of a history that ends
/// with it. 0 where that is no beginning of the whole.
std::size_t end_in_history(Renderer& render, std::size_t i, const std::string& whole) {
  const std::string asked = generation_prompt(render, i);
  if (asked.empty()) return 0;
  try {
    const std::string next = render(i + 1, true).text;
    if (!next.ends_with(asked)) return 0;
    const std::size_t end = next.size() - asked.size();
    return whole.compare(0, end, next, 0, end) == 0 ? end : 0;
  } catch (const DataError&) {
    return 0;
  }
}

/// Where an answer at [begin, end) ends of which a template that always writes its prompt has written what follows as well (Command R7B):
/// behind the token at which a model stops.
std::size_t without_next_prompt(Renderer& render, std::size_t i, const std::string& text, std::size_t begin, std::size_t end) {
  const std::string stop = render.end_of_text();
  if (stop.empty() || role_of(render.turns()[i]) != "assistant") return end;
  const std::size_t at = text.find(stop, begin);
  if (at == std::string::npos || at + stop.size() >= end) return end;
  const std::string_view rest = std::string_view(text).substr(at + stop.size(), end - at - stop.size());
  // Last, since it renders: with most templates nothing but blanks is behind the token.
  return jinja::strip(rest, nullptr, true, true).empty() || !generation_prompt(render, i).empty() ? end : at + stop.size();
}

/// A turn where `text`, which ends with it, tells what stood before otherwise than `before` did, which ends where the turn begins
/// (templates drop earlier thoughts as a conversation goes on): what stood there, and the turn. The longest end of `before` that the text has
/// is where the turn begins; it has at least `least` characters. Nothing where it is not found.
std::optional<ConversationText> after_rewriting(const std::string& before, std::size_t least, const std::string& text) {
  std::size_t shortest = least, longest = std::min(before.size(), text.size());
  if (longest < shortest) return std::nullopt;
  const auto place = [&](std::size_t length) { return text.rfind(std::string_view(before).substr(before.size() - length)); };
  std::size_t at = place(shortest);
  if (at == std::string::npos) return std::nullopt;
  while (shortest < longest) {  // every shorter end is found where a longer one is
    const std::size_t middle = shortest + (longest - shortest + 1) / 2, found = place(middle);
    if (found == std::string::npos) {
      longest = middle - 1;
    } else {
      shortest = middle;
      at = found;
    }
  }
  const std::string turn = text.substr(at + shortest);
  return ConversationText{before + turn, {{before.size(), before.size() + turn.size()}}};
}

/// The same where blanks alone differ between what the turn before says and the prompt of an answer, which says `own`.
std::optional<ConversationText> after_other_blanks(const std::string& before, const std::string& said, const std::string& prompt,
                                                   const std::string& own, const std::string& text) {
  if (said.empty() || prompt.empty() || own.empty() || !before.ends_with(prompt)) return std::nullopt;
  const auto gap = [&](std::string_view whole, std::size_t end) -> std::optional<std::string> {
    const std::size_t at = whole.substr(0, end).rfind(said);
    if (at == std::string_view::npos) return std::nullopt;
    std::string between(whole.substr(at + said.size(), end - at - said.size()));
    std::erase_if(between, [](char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; });
    return between;
  };
  const std::size_t at = text.rfind(prompt), behind = at + prompt.size();
  if (at == std::string::npos || !jinja::strip(std::string_view(text).substr(behind), nullptr, true, false).starts_with(own)) return std::nullopt;
  const auto here = gap(text, at), there = gap(before, before.size() - prompt.size());
  if (!here || here != there) return std::nullopt;
  const std::string turn = text.substr(behind);
  return ConversationText{before + turn, {{before.size(), before.size() + turn.size()}}};
}

/// The learned stretches of the whole, or nothing where a beginning is none of it.
std::optional<std::vector<ChatSpan>> by_prefixes(Renderer& render, const std::string& whole,
                                                 const std::vector<bool>& learned) {
  std::vector<ChatSpan> spans;
  std::size_t behind = 0;
  for (std::size_t i = 0; i < learned.size(); ++i) {
    if (!learned[i]) continue;
    std::size_t end = whole.size();
    if (i + 1 < learned.size()) {
      const std::string through = render(i + 1, false).text;
      end = common_prefix(through, whole);
      // Some templates write an end of the text behind whatever turn is the last: that is no rewriting of the past.
      if (!whole.ends_with(through.substr(end))) return std::nullopt;
      if (end < through.size()) end = std::max(end, end_in_history(render, i, whole));
    }
    const std::size_t begin = answer_begin(render, i, whole, behind);
    if (begin > end || !continues(render, i, whole, begin)) return std::nullopt;
    end = without_next_prompt(render, i, whole, begin, end);
    if (begin < end) spans.push_back({begin, end});
    behind = end;
  }
  return spans;
}

}  // namespace

core::Json special_token_variables(const Tokenizer& tokenizer) {
  core::Json out = core::Json::object();
  const auto add = [&](const char* name, std::optional<TokenId> id) {
    if (id) out[name] = tokenizer.id_to_token(*id);
  };
  add("bos_token", tokenizer.bos());
  add("eos_token", tokenizer.eos());
  add("unk_token", tokenizer.unk());
  add("pad_token", tokenizer.pad());
  return out;
}

std::vector<bool> learned_turns(const Conversation& conversation, const ChatOptions& options) {
  const core::Json& turns = conversation.turns;
  std::vector<bool> learned(turns.size(), false);
  std::ptrdiff_t last = -1;
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const std::string role = role_of(turns[i]);
    const bool wanted = options.loss_on == LossOn::kRoles
                            ? std::find(options.roles.begin(), options.roles.end(), role) != options.roles.end()
                            : role == "assistant";
    if (wanted) last = static_cast<std::ptrdiff_t>(i);
    learned[i] = wanted;
  }
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const bool is_muted = i < conversation.prompt || (i < conversation.muted.size() && conversation.muted[i]);
    if (is_muted || (options.loss_on == LossOn::kLast && static_cast<std::ptrdiff_t>(i) != last)) learned[i] = false;
  }
  return learned;
}

core::Json conversation_variables(const core::Json& special_tokens, const Conversation& conversation,
                                  const ChatOptions& options) {
  core::Json variables = special_tokens;
  variables["tools"] = conversation.tools;
  variables["documents"] = conversation.documents;
  for (const auto* arguments : {&options.arguments, &conversation.arguments}) {
    for (const auto& [key, value] : arguments->items()) variables[key] = value;
  }
  variables["messages"] = chat_messages(conversation.turns);
  variables["add_generation_prompt"] = false;
  return variables;
}

std::string conversation_rendering(const ChatTemplate& chat_template, const core::Json& special_tokens, const Conversation& conversation,
                               const ChatOptions& options, bool with_prompt) {
  core::Json variables = conversation_variables(special_tokens, conversation, options);
  keep_calls(chat_template, variables, options);
  variables["add_generation_prompt"] = with_prompt;
  return rendered(chat_template, variables, options).text;
}

ConversationTexts conversation_texts(const ChatTemplate& chat_template, const core::Json& special_tokens,
                                     const Conversation& conversation, const ChatOptions& options) {
  Renderer render(chat_template, special_tokens, conversation, options);
  const std::size_t count = render.turns().size();
  const std::vector<bool> learned = learned_turns(conversation, options);
  Rendering whole = render(count, false);
  ConversationTexts out;
  if (chat_template.has_generation() && options.loss_on != LossOn::kRoles) {
    out.from = MaskFrom::kGeneration;
    std::vector<ChatSpan> spans = marked(render, whole, learned);
    out.texts.push_back({std::move(whole.text), std::move(spans)});
    return out;
  }
  if (auto spans = by_prefixes(render, whole.text, learned)) {
    out.texts.push_back({std::move(whole.text), std::move(*spans)});
    return out;
  }
  out.from = MaskFrom::kTurns;
  for (std::size_t i = 0; i < count; ++i) {
    if (!learned[i]) continue;
    std::string text = i + 1 == count ? whole.text : render(i + 1, false).text;
    const std::size_t begin = answer_begin(render, i, text, 0), end = text.size();
    if (!continues(render, i, text, begin)) {
      const bool answers = role_of(render.turns()[i]) == "assistant";
      const std::string before = render(i, answers).text;
      // More than the prompt for an answer, and all of what the turn before says.
      const std::string said = spoken_text(render.turns()[i - 1]);
      const std::size_t from = said.empty() ? std::string::npos : before.rfind(said);
      const std::size_t least = from != std::string::npos ? before.size() - from : (answers ? generation_prompt(render, i).size() : 0) + 1;
      auto turn = after_rewriting(before, least, text);
      if (!turn && answers) turn = after_other_blanks(before, said, generation_prompt(render, i), spoken_text(render.turns()[i]), text);
      if (!turn) {
        throw DataError(render.name() + ": where turn " + std::to_string(i + 1) +
                        " of the conversation begins cannot be told, since the template writes what stands before it otherwise behind it; "
                        "learn the last answer alone (`loss-on` last), or give another template");
      }
      turn->learned.front().begin += empty_thoughts(std::string_view(turn->text).substr(before.size()), render.turns()[i]);
      out.texts.push_back(std::move(*turn));
      continue;
    }
    std::vector<ChatSpan> spans;
    if (begin < end) spans.push_back({begin, without_next_prompt(render, i, text, begin, end)});
    out.texts.push_back({std::move(text), std::move(spans)});
  }
  return out;
}

Example encode_conversation(const Tokenizer& tokenizer, const ConversationText& text) {
  Example example;
  example.ids = tokenizer.encode(text.text, false);
  example.learned = token_mask(tokenizer, text.text, example.ids, text.learned);
  return example;
}

}  // namespace lowrank::data
