#include "lowrank/data/preference_rows.h"

#include <algorithm>
#include <array>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/conversation.h"

namespace lowrank::data {
namespace {

struct Keys {
  PairKeys keys;
  const char* name;
  std::vector<std::string> beside, optional;  // beside "chosen" and "rejected"
};

/// In the order in which a first row is tried.
const std::array<Keys, 4>& table() {
  static const std::array<Keys, 4> keys = {{
      {PairKeys::kConversations, "conversations/chosen/rejected", {"conversations"}, {"system"}},
      {PairKeys::kAlpaca, "instruction/chosen/rejected", {"instruction"}, {"input"}},
      {PairKeys::kPrompt, "prompt/chosen/rejected", {"prompt"}, {}},
      {PairKeys::kWhole, "chosen/rejected", {}, {}},
  }};
  return keys;
}

const Keys& entry(PairKeys keys) {
  return *std::find_if(table().begin(), table().end(), [&](const Keys& k) { return k.keys == keys; });
}

bool has_all(const core::JsonView& row, const Keys& keys) {
  return row.has("chosen") && row.has("rejected") &&
         std::all_of(keys.beside.begin(), keys.beside.end(), [&](const std::string& key) { return row.has(key); });
}

bool among(const std::vector<std::string>& list, const std::string& key) {
  return std::find(list.begin(), list.end(), key) != list.end();
}

/// One turn, or a list of turns, as a list.
core::Json as_turns(const core::JsonView& value) {
  return value.is_array() ? value.raw() : core::Json::array({value.raw()});
}

core::Json joined(core::Json first, const core::Json& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
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

bool same_text(const std::vector<Span>& a, const std::vector<Span>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Span& x, const Span& y) { return x.text == y.text && x.learned == y.learned; });
}

}  // namespace

std::string pair_keys_name(PairKeys keys) { return entry(keys).name; }

void PairReader::settle_keys(const core::JsonView& row) {
  for (const Keys& keys : table()) {
    if (!has_all(row, keys)) continue;
    keys_ = keys.keys;
    return;
  }
  std::string found;
  for (const std::string& key : row.keys()) found += (found.empty() ? "\"" : ", \"") + core::printable(key, 40) + "\"";
  throw DataError(
      row.where() +
      ": not a preference pair; expected the keys {\"prompt\", \"chosen\", \"rejected\"}, {\"instruction\", "
      "\"chosen\", \"rejected\"}, {\"conversations\", \"chosen\", \"rejected\"} or {\"chosen\", "
      "\"rejected\"} with messages, found " +
      (found.empty() ? "none" : found));
}

PairSpans PairReader::of_messages(const core::JsonView& prompt, const core::JsonView& row, const std::string& system) {
  conversations_ = true;
  const std::size_t beginning = conversation_spans(prompt, system, has_end_token_).size();
  const auto side = [&](const char* name) {
    const core::JsonView answer = row.at(name);
    const core::Json turns = joined(as_turns(prompt), as_turns(answer));
    return answer_learned(conversation_spans({turns, answer.where()}, system, has_end_token_, &unread_), beginning,
                          answer.where());
  };
  return {side("chosen"), side("rejected")};
}

PairSpans PairReader::of_whole(const core::JsonView& row) {
  const core::JsonView chosen = row.at("chosen"), rejected = row.at("rejected");
  if (!chosen.is_array() || !rejected.is_array()) {
    throw DataError(
        row.where() +
        ": \"chosen\" and \"rejected\" are no lists of messages and there is no \"prompt\" of messages; give "
        "the prompt beside two strings, or both sides as lists of messages");
  }
  core::Json prompt = core::Json::array();
  while (prompt.size() < std::min(chosen.size(), rejected.size()) &&
         chosen.raw()[prompt.size()] == rejected.raw()[prompt.size()]) {
    prompt.push_back(chosen.raw()[prompt.size()]);
  }
  core::Json sides = {{"chosen", core::Json::array()}, {"rejected", core::Json::array()}};
  for (const char* side : {"chosen", "rejected"}) {
    const core::Json& turns = row.at(side).raw();
    for (std::size_t i = prompt.size(); i < turns.size(); ++i) sides[side].push_back(turns[i]);
  }
  return of_messages({prompt, row.where()}, {sides, row.where()}, "");
}

PairSpans PairReader::spans_of(const core::JsonView& row) {
  const core::JsonView chosen = row.at("chosen"), rejected = row.at("rejected");
  const auto of_text = [&](const std::string& prompt) {
    const auto side = [&](const core::JsonView& answer) {
      return answer_learned({{prompt, false, false}, {answer.as_string(), true, true}}, 1, answer.where());
    };
    return PairSpans{side(chosen), side(rejected)};
  };
  switch (*keys_) {
    case PairKeys::kConversations:
      return of_messages(row.at("conversations"), row, row.get_string("system", ""));
    case PairKeys::kAlpaca:
      return of_text(alpaca_prompt(row.at("instruction").as_string(), row.get_string("input", "")));
    case PairKeys::kPrompt:
      if (row.at("prompt").is_array()) return of_messages(row.at("prompt"), row, "");
      // As in UltraFeedback: the prompt once more, beside whole conversations.
      if (chosen.is_array()) return of_whole(row);
      return of_text(row.at("prompt").as_string());
    case PairKeys::kWhole:
      return of_whole(row);
  }
  throw InternalError("PairReader: no such keys");
}

PairSpans PairReader::read(const core::JsonView& row) {
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
  for (const std::string& key : row.keys()) {
    const bool read = key == "chosen" || key == "rejected" || among(keys.beside, key) || among(keys.optional, key);
    if (!read) unread_.insert(key);
  }
  try {
    PairSpans spans = spans_of(row);
    if (same_text(spans.chosen, spans.rejected)) {
      throw DataError(row.where() +
                      ": \"chosen\" and \"rejected\" are the same, so there is nothing to prefer; take the row out");
    }
    return spans;
  } catch (const FormatError& e) {  // a value of a wrong type: a fault of the data, not of a file format
    throw DataError(e.what());
  }
}

}  // namespace lowrank::data
