#include "lowrank/data/preference_rows.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/conversation.h"
#include "lowrank/data/text_documents.h"

namespace lowrank::data {
namespace {

struct Keys {
  PairKeys keys;
  const char* name;
  std::vector<std::string> beside, optional;  // beside "chosen" and "rejected"
};

/// In the order in which a first row is tried.
const std::array<Keys, 7>& pair_table() {
  static const std::array<Keys, 7> keys = {{
      {PairKeys::kConversations, "conversations/chosen/rejected", {"conversations"}, {}},
      {PairKeys::kMessages, "messages/chosen/rejected", {"messages"}, {}},
      {PairKeys::kAlpaca, "instruction/chosen/rejected", {"instruction"}, {"input"}},
      {PairKeys::kPrompt, "prompt/chosen/rejected", {"prompt"}, {}},
      {PairKeys::kQuestion, "question/chosen/rejected", {"question"}, {}},
      {PairKeys::kInput, "input/chosen/rejected", {"input"}, {}},
      {PairKeys::kWhole, "chosen/rejected", {}, {}},
  }};
  return keys;
}

const Keys& entry(PairKeys keys) {
  return *std::find_if(pair_table().begin(), pair_table().end(), [&](const Keys& k) { return k.keys == keys; });
}

bool has_all(const core::JsonView& row, const Keys& keys) {
  return row.has("chosen") && row.has("rejected") &&
         std::all_of(keys.beside.begin(), keys.beside.end(), [&](const std::string& key) { return row.has_value(key); });
}

/// The first turn that is not the system's; null: none.
const core::Json* opening_turn(const core::JsonView& turns) {
  for (std::size_t i = 0; i < turns.size(); ++i)
    if (named_role(turns.at(i)) != "system") return &turns.raw()[i];
  return nullptr;
}

/// Whether each side is a whole conversation, whatever stands beside: it begins with the user's turn, and not with the one
/// that comes after a list of turns there.
bool is_whole(const core::JsonView& row, const Keys& keys) {
  for (const char* side : {"chosen", "rejected"}) {
    if (!row.at(side).is_array()) return false;
    const core::Json* const first = opening_turn(row.at(side));
    if (first == nullptr || named_role({*first, ""}) != "user") return false;
  }
  if (keys.beside.empty() || !row.at(keys.beside[0]).is_array()) return true;
  const core::Json* const asked = opening_turn(row.at(keys.beside[0]));
  return asked != nullptr && *asked == *opening_turn(row.at("chosen"));
}

/// Whether what stands under a key is in two whole conversations once more.
bool is_repeated(const core::JsonView& row, const std::string& key) {
  if (row.at(key).is_array() || !row.has_value(key)) return true;
  if (!row.at(key).is_string()) return false;
  const std::string text = row.at(key).as_string();
  for (const core::Json& turn : row.at("chosen").raw()) {
    for (const char* name : {"content", "value"}) {
      const auto found = turn.find(name);
      if (found != turn.end() && found->is_string() && found->get_ref<const std::string&>().find(text) != std::string::npos) return true;
    }
  }
  return false;
}

/// Both answers, texts of them as turns of the assistant.
core::Json answers_of(const core::JsonView& row) {
  core::Json sides;
  for (const char* side : {"chosen", "rejected"}) {
    const core::JsonView answer = row.at(side);
    sides[side] = answer.is_string() ? core::Json{{"role", "assistant"}, {"content", answer.as_string()}} : answer.raw();
  }
  return sides;
}

float margin_of(const core::JsonView& row) {
  if (!row.has_value("margin")) return 0;
  const core::JsonView value = row.at("margin");
  double margin = 0;
  try {
    const core::Json number = value.is_string() ? core::parse_json(value.as_string(), value.where()) : value.raw();  // tables hold texts
    margin = core::JsonView(number, value.where()).as_double();
  } catch (const Error&) {
    margin = std::numeric_limits<double>::quiet_NaN();
  }
  if (!std::isfinite(margin)) value.fail("expected a number, by which the reward of the chosen answer should be higher");
  return static_cast<float>(margin);
}

bool among(const std::vector<std::string>& list, const std::string& key) {
  return std::find(list.begin(), list.end(), key) != list.end();
}

bool has_system(const core::JsonView& row) {
  return row.has_value("system") && !(row.at("system").is_string() && is_blank(row.at("system").as_string()));
}

/// What follows the prompt, which is the first `prompt` of the spans: learned; the prompt is not.
std::vector<Span> answer_learned(std::vector<Span> spans, std::size_t prompt, const std::string& where) {
  bool any = false;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    if (i < prompt) spans[i].learned = false;
    any = any || spans[i].learned;
  }
  if (!any) throw DataError(where + ": there is no answer, expected text of the assistant after the prompt");
  return spans;
}

/// What two strings begin with, whole characters of it; a space before the first difference belongs to the answers, as
/// in TRL.
std::size_t common_beginning(const std::string& a, const std::string& b) {
  auto n = static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  while (n > 0 && ((n < a.size() && (static_cast<unsigned char>(a[n]) & 0xC0) == 0x80) ||
                   (n < b.size() && (static_cast<unsigned char>(b[n]) & 0xC0) == 0x80)))
    --n;
  if (n > 0 && a[n - 1] == ' ') --n;
  return n;
}

bool same_text(const std::vector<Span>& a, const std::vector<Span>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Span& x, const Span& y) { return x.text == y.text && x.learned == y.learned; });
}

}  // namespace

std::string pair_keys_name(PairKeys keys) { return entry(keys).name; }

void PairReader::settle_keys(const core::JsonView& row) {
  for (const Keys& keys : pair_table()) {
    if (!has_all(row, keys)) continue;
    keys_ = keys.keys;
    return;
  }
  refuse_unpaired(row, "and pairs of answers are wanted here; give rows of \"prompt\", \"chosen\" and \"rejected\"");
  std::string found;
  for (const std::string& key : row.keys()) found += (found.empty() ? "\"" : ", \"") + core::printable(key, 40) + "\"";
  throw DataError(
      row.where() +
      ": not a preference pair; expected the keys {\"prompt\", \"chosen\", \"rejected\"}, {\"instruction\", "
      "\"chosen\", \"rejected\"}, {\"conversations\", \"chosen\", \"rejected\"} or {\"chosen\", "
      "\"rejected\"} with messages or whole texts, found " +
      (found.empty() ? "none" : found) + "; name columns of other names with `columns`, such as prompt=question,chosen=better,rejected=worse");
}

/// `sides`: where the two answers stand, each a list of turns or one.
Pair PairReader::of_turns(const core::JsonView& prompt, const core::JsonView& sides, const core::JsonView& row) {
  conversations_ = true;
  const auto side = [&](const char* name) {
    Conversation conversation = turns_.read_answer(prompt, sides.at(name), row);
    const std::vector<bool> learned = learned_turns(conversation, {});
    if (std::find(learned.begin(), learned.end(), true) == learned.end()) {
      throw DataError(sides.at(name).where() + ": there is no answer, expected text of the assistant after the prompt");
    }
    return conversation;
  };
  Pair pair;
  pair.chosen_turns = side("chosen");
  pair.rejected_turns = side("rejected");
  if (layout_.has_template()) return pair;
  return {conversation_spans(*pair.chosen_turns, {}, has_end_token_),
          conversation_spans(*pair.rejected_turns, {}, has_end_token_),
          {},
          {}};
}

Pair PairReader::of_whole(const core::JsonView& row) {
  const core::JsonView chosen = row.at("chosen"), rejected = row.at("rejected");
  if (chosen.is_string() && rejected.is_string()) return of_strings(row);
  if (!chosen.is_array() || !rejected.is_array()) {
    throw DataError(
        row.where() +
        ": \"chosen\" and \"rejected\" are neither two strings nor two lists of messages; give the prompt as "
        "\"prompt\" beside two strings, or both sides as lists of messages");
  }
  core::Json prompt = core::Json::array();
  while (prompt.size() < std::min(chosen.size(), rejected.size()) &&
         chosen.raw()[prompt.size()] == rejected.raw()[prompt.size()]) {
    prompt.push_back(chosen.raw()[prompt.size()]);
  }
  two_prompts_ += prompt.empty() ? 1 : 0;
  core::Json sides = {{"chosen", core::Json::array()}, {"rejected", core::Json::array()}};
  for (const char* side : {"chosen", "rejected"}) {
    const core::Json& turns = row.at(side).raw();
    for (std::size_t i = prompt.size(); i < turns.size(); ++i) sides[side].push_back(turns[i]);
  }
  return of_turns({prompt, row.where()}, {sides, row.where()}, row);
}

Pair PairReader::of_strings(const core::JsonView& row) const {
  const std::string first = row.at("chosen").as_string(), second = row.at("rejected").as_string();
  const std::string prompt = first.substr(0, common_beginning(first, second));
  // What the answers begin with by chance is no prompt where one stands beside them.
  if (const std::string key = first_text(row, {"query", "problem", "user", "context", "post", "document"});
      !key.empty() && prompt.find(row.at(key).as_string()) == std::string::npos) {
    throw DataError(row.where() + ": two answers without a prompt, beside \"" + key + "\"; if that is the prompt, say so with `columns` prompt=" +
                    key + ", and if not, leave it out of the rows");
  }
  if (!judged_ && first != second && is_blank(prompt)) {
    throw DataError(row.where() +
                    ": \"chosen\" and \"rejected\" have no common beginning, which would be the prompt; give it as "
                    "\"prompt\" beside two strings, or both sides as lists of messages");
  }
  const Span before{prompt, false, false};
  return {{before, {first.substr(prompt.size()), true, true}}, {before, {second.substr(prompt.size()), true, true}}, {}, {}};
}

Pair PairReader::of_question(const core::JsonView& question, const core::JsonView& row) {
  const core::Json prompt = core::Json::array({{{"role", "user"}, {"content", question.as_string()}}});
  const core::Json sides = answers_of(row);
  return of_turns({prompt, question.where()}, {sides, row.where()}, row);
}

Pair PairReader::pair_of(const core::JsonView& row) {
  const core::JsonView chosen = row.at("chosen"), rejected = row.at("rejected");
  const Keys& keys = entry(*keys_);
  if (is_whole(row, keys)) return of_whole(row);
  const bool structured = chosen.raw().is_structured() || rejected.raw().is_structured();
  const auto after_turns = [&](const core::JsonView& prompt) {
    const core::Json sides = answers_of(row);
    return of_turns(prompt, {sides, row.where()}, row);
  };
  const auto of_text = [&](const std::string& prompt) -> Pair {
    const auto side = [&](const core::JsonView& answer) {
      return answer_learned({{prompt, false, false}, {answer.as_string(), true, true}}, 1, answer.where());
    };
    return {side(chosen), side(rejected), {}, {}};
  };
  switch (*keys_) {
    case PairKeys::kConversations:
    case PairKeys::kMessages:
      return after_turns(row.at(keys.beside[0]));
    case PairKeys::kAlpaca: {
      if (!layout_.has_template() && !structured && !has_system(row)) return of_text(alpaca_prompt(row));
      const core::Json prompt = alpaca_turns(row);
      return after_turns({prompt, row.where()});
    }
    case PairKeys::kPrompt:
      if (row.at("prompt").is_array()) return after_turns(row.at("prompt"));
      if (!structured && !has_system(row)) return of_text(row.at("prompt").as_string());
      return of_question(row.at("prompt"), row);
    case PairKeys::kQuestion:
    case PairKeys::kInput:
      if (layout_.has_template() || structured || has_system(row)) return of_question(row.at(keys.beside[0]), row);
      return of_text(row.at(keys.beside[0]).as_string() + "\n");
    case PairKeys::kWhole:
      return of_whole(row);
  }
  throw InternalError("PairReader: no such keys");
}

Pair PairReader::read(const core::JsonView& row) {
  if (!row.is_object()) {
    throw DataError(row.where() + ": a row is an object such as {\"prompt\": \"…\", \"chosen\": \"…\", \"rejected\": " +
                    "\"…\"}, found " + row.raw().type_name());
  }
  if (!keys_) settle_keys(row);
  const Keys& keys = entry(*keys_);
  std::vector<std::string> needed = keys.beside;
  needed.insert(needed.end(), {"chosen", "rejected"});
  for (const std::string& key : needed) {
    if (row.has(key)) continue;
    throw DataError(row.where() + ": the key \"" + key + "\" is missing (" + file_ + " began with " + keys.name +
                    " rows)");
  }
  try {
    Pair pair = pair_of(row);
    const bool whole = is_whole(row, keys);
    all_whole_ = all_whole_ && (whole || *keys_ == PairKeys::kWhole);
    if (judged_) pair.margin = margin_of(row);
    const bool same = pair.chosen_turns ? pair.chosen_turns->turns == pair.rejected_turns->turns
                                        : same_text(pair.chosen, pair.rejected);
    if (same) {
      throw DataError(row.where() +
                      ": \"chosen\" and \"rejected\" are the same, so there is nothing to prefer; take the row out");
    }
    for (const std::string& key : row.keys()) {
      const bool read = key == "chosen" || key == "rejected" || (key == "margin" && judged_) ||
                        (whole ? is_repeated(row, key) : among(keys.beside, key) || among(keys.optional, key)) ||
                        (conversations_ && (among(conversation_row_keys(layout_.has_template()), key) ||
                                            (keys.keys == PairKeys::kAlpaca && key == "history")));
      if (!read) unread_.insert(key);
    }
    return pair;
  } catch (const FormatError& e) {  // a value of a wrong type: a fault of the data, not of a file format
    throw DataError(e.what());
  }
}

}  // namespace lowrank::data
