#include "lowrank/data/rows.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/unpaired.h"

namespace lowrank::data {
namespace {

struct Keys {
  RowKeys keys;
  Format format;
  const char* name;
  std::vector<std::string> needed, optional;
};

/// In the order in which a first row is tried: a row of messages may well have a "prompt" or "text" beside them.
const std::array<Keys, 9>& table() {
  static const std::array<Keys, 9> keys = {{
      {RowKeys::kMessages, Format::kMessages, "messages", {"messages"}, {}},
      {RowKeys::kShareGpt, Format::kShareGpt, "ShareGPT", {"conversations"}, {}},
      {RowKeys::kShareGpt, Format::kShareGpt, "ShareGPT", {"conversation"}, {}},
      {RowKeys::kShareGpt, Format::kShareGpt, "ShareGPT", {"dialog"}, {}},
      {RowKeys::kCompletion, Format::kCompletion, "prompt/completion", {"prompt", "completion"}, {}},
      {RowKeys::kAlpaca, Format::kAlpaca, "Alpaca", {"instruction", "output"}, {"input"}},
      {RowKeys::kQuestion, Format::kCompletion, "question/answer", {"question", "answer"}, {}},
      {RowKeys::kText, Format::kText, "text", {"text"}, {}},
      {RowKeys::kTurns, Format::kMessages, "lists of turns", {}, {}},  // a row that is no object
  }};
  return keys;
}

/// `turns_key`: where the turns of a conversation stand; empty: anywhere.
const Keys& entry(RowKeys keys, const std::string& turns_key = "") {
  return *std::find_if(table().begin(), table().end(), [&](const Keys& k) {
    return k.keys == keys && (turns_key.empty() || k.needed[0] == turns_key);
  });
}

bool is_turns(RowKeys keys) {
  return keys == RowKeys::kMessages || keys == RowKeys::kShareGpt || keys == RowKeys::kTurns;
}

/// Whether rows so keyed are of the format that was asked for; turns are read by their own spelling, so that one of
/// their formats is as good as the other.
bool suits(const Keys& keys, Format format) {
  const bool turns = format == Format::kMessages || format == Format::kShareGpt;
  return format == Format::kAuto || keys.format == format || (turns && is_turns(keys.keys));
}

bool has_all(const core::JsonView& row, const Keys& keys) {
  if (keys.keys == RowKeys::kTurns) return row.is_array();
  return std::all_of(keys.needed.begin(), keys.needed.end(), [&](const std::string& key) { return row.has(key); });
}

std::string braces(const std::vector<std::string>& keys) {
  std::string list;
  for (const std::string& key : keys) list += (list.empty() ? "{\"" : ", \"") + key + "\"";
  return list + "}";
}

std::string found_keys(const core::JsonView& row) {
  std::string list;
  std::size_t n = 0;
  for (const std::string& key : row.keys()) {
    if (++n > 8) return list + ", …";
    list += (list.empty() ? "" : ", ") + ("\"" + core::printable(key, 40) + "\"");
  }
  return list.empty() ? "none" : list;
}

std::string likely_question(const core::JsonView& row) {
  return first_text(row, {"instruction", "question", "query", "prompt", "problem", "source", "input", "document"});
}

/// What `columns` would say of a row whose keys have other names for the same: " prompt=query,completion=response".
std::string likely_columns(const core::JsonView& row) {
  const std::string answer =
      first_text(row, {"answer", "response", "output", "completion", "target", "solution", "best_answer", "reply", "summary"});
  const std::string question = likely_question(row);
  const std::string context = first_text(row, {"input", "context"});
  if (!answer.empty() && question == "instruction")
    return " instruction=instruction," + (context.empty() ? "" : "input=" + context + ",") + "output=" + answer;
  if (!answer.empty() && !question.empty()) return " prompt=" + question + ",completion=" + answer;
  const std::string text = first_text(row, {"content", "body", "document", "article", "passage", "story", "sentence"});
  return text.empty() ? "" : " text=" + text;
}

}  // namespace

std::string first_text(const core::JsonView& row, const std::vector<std::string>& names) {
  const auto found = std::find_if(names.begin(), names.end(), [&](const std::string& name) {
    return row.has(name) && row.at(name).raw().is_string();
  });
  return found == names.end() ? "" : *found;
}

std::string row_keys_name(RowKeys keys) { return entry(keys).name; }

void refuse_unpaired(const core::JsonView& row, const std::string& verb) {
  const char* const key = liked_key(row);
  if (key == nullptr) return;
  throw DataError(row.where() + ": \"" + key + "\" beside an answer says whether it was liked (KTO's form), " + verb);
}

void no_prompt(const core::JsonView& row) {
  const std::string question = likely_question(row);
  throw DataError(row.where() + ": no prompt; expected the key \"prompt\" (and \"answer\"), \"question\", \"instruction\" or \"messages\", found " +
                  found_keys(row) + "; name columns of other names with `columns`" + (question.empty() ? "" : " prompt=" + question));
}

std::string alpaca_prompt(const core::JsonView& row) {
  if (row.has_value("history") && row.at("history").size() > 0)
    row.at("history").fail("earlier turns have no place in Alpaca's own layout, which is for models without a chat template; give "
                           "`chat-template` FILE, or write the rows as {\"messages\"}");
  const std::string instruction = row.at("instruction").as_string(), input = row.get_string("input", "");
  if (input.empty()) {
    return "Below is an instruction that describes a task. Write a response that appropriately completes the "
           "request.\n\n### Instruction:\n" +
           instruction + "\n\n### Response:\n";
  }
  return "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
         "response that appropriately completes the request.\n\n### Instruction:\n" +
         instruction + "\n\n### Input:\n" + input + "\n\n### Response:\n";
}

void RowReader::settle_keys(const core::JsonView& row) {
  if (row.has("chosen") && row.has("rejected")) {
    throw DataError(row.where() +
                    ": a row with \"chosen\" and \"rejected\" is a preference pair, which fine-tuning does "
                    "not learn from; give it to `lowrank align dpo`, or keep the chosen answer as {\"prompt\", "
                    "\"completion\"}");
  }
  std::string known;
  for (const Keys& keys : table()) {
    if (!suits(keys, format_)) continue;
    if (has_all(row, keys)) {
      keys_ = keys.keys;
      if (is_turns(keys.keys) && !keys.needed.empty()) turns_key_ = keys.needed[0];
      return;
    }
    if (!keys.needed.empty()) known += (known.empty() ? "" : ", ") + braces(keys.needed);
  }
  throw DataError(row.where() + ": no " + (format_ == Format::kAuto ? "known format" : format_name(format_) + " row") +
                  "; expected the keys " + known + ", found " + found_keys(row) +
                  "; name columns of other names with `columns`" + likely_columns(row) + ", or lay them out with `layout`");
}

void RowReader::refuse_unlike(const core::JsonView& row) {
  const Keys& keys = entry(*keys_, turns_key_);
  if (has_all(row, keys)) return;
  for (const Keys& other : table()) {
    if (format_ == Format::kAuto && has_all(row, other)) {
      throw DataError(row.where() + ": the row is " + other.name + ", but " + file_ + " began with " + keys.name +
                      "; a file holds one format, so split it");
    }
  }
  for (const std::string& key : keys.needed) {
    if (row.has(key)) continue;
    throw DataError(row.where() + ": the key \"" + key + "\" is missing (rows of this file are " + keys.name +
                    "), found " + found_keys(row));
  }
  throw DataError(row.where() + ": rows of this file are " + keys.name + ", found an object");
}

Row RowReader::read(const core::JsonView& row) {
  if (!row.is_object() && !looks_like_turns(row)) {
    throw DataError(row.where() + ": a row is an object such as {\"text\": \"…\"}, or a list of turns, found " +
                    (row.is_array() ? "a list of something else" : row.raw().type_name()));
  }
  if (!keys_) settle_keys(row);
  refuse_unlike(row);
  refuse_unpaired(row,
                  "and fine-tuning would learn the disliked ones too; keep the rows where it is true, without the key");
  try {
    Row result = row_of(row);
    const Keys& keys = entry(*keys_, turns_key_);
    const auto among = [](const std::vector<std::string>& list, const std::string& key) {
      return std::find(list.begin(), list.end(), key) != list.end();
    };
    if (row.is_array()) return result;
    for (const std::string& key : row.keys()) {
      bool read = among(keys.needed, key) || among(keys.optional, key);
      if (result.conversation) {
        read = read || among(conversation_row_keys(layout_.has_template()), key) ||
               (keys.keys == RowKeys::kAlpaca && key == "history");
      }
      if (!read) unread_.insert(key);
    }
    return result;
  } catch (const FormatError& e) {  // a value of a wrong type: a fault of the data, not of a file format
    throw DataError(e.what());
  }
}

Row RowReader::row_of(const core::JsonView& row) {
  const auto text = [&](const char* key) {
    const core::JsonView value = row.at(key);
    const bool number = (value.raw().is_number() && std::isfinite(value.raw().get<double>())) || value.raw().is_boolean();
    try {
      return value.as_string();
    } catch (const FormatError& e) {
      if (number) throw FormatError(std::string(e.what()) + "; a `layout` with {" + core::printable(key, 40) + "} writes numbers as text");
      if (!value.raw().is_structured()) throw;
      throw FormatError(std::string(e.what()) +
                        "; rows are objects one by one, and where all of a column stands under its name pandas writes them by "
                        "to_json(orient=\"records\", lines=True)");
    }
  };
  switch (*keys_) {
    case RowKeys::kText:
      return {{{text("text"), true, true}}, {}};
    case RowKeys::kCompletion:
      if (row.at("prompt").raw().is_structured() || row.at("completion").raw().is_structured())
        return {{}, of_completion(row)};
      return {{{text("prompt"), false, false}, {text("completion"), true, true}}, {}};
    case RowKeys::kQuestion:
      if (layout_.has_template()) return {{}, of_pair(text("question"), text("answer"), row)};
      return {{{text("question") + "\n", false, false}, {text("answer"), true, true}}, {}};
    case RowKeys::kAlpaca:
      if (layout_.has_template()) return {{}, of_alpaca(row)};
      return {{{alpaca_prompt(row), false, false}, {text("output"), true, true}}, {}};
    case RowKeys::kMessages:
    case RowKeys::kShareGpt:
      return {{}, turns_.read(row.at(turns_key_), row)};
    case RowKeys::kTurns:
      return {{}, turns_.read(row)};
  }
  throw InternalError("RowReader: no such keys");
}

Conversation RowReader::of_completion(const core::JsonView& row) {
  for (const char* key : {"prompt", "completion"}) {
    if (!row.at(key).is_array() && !row.at(key).is_object())
      row.at(key).fail("expected a list of turns, as the other of \"prompt\" and \"completion\" is");
  }
  return turns_.read_answer(row.at("prompt"), row.at("completion"), row);
}

/// A question and its answer, after what the row has before them.
Conversation RowReader::of_pair(const std::string& question, const std::string& answer, const core::JsonView& row) {
  const core::Json turns =
      core::Json::array({{{"role", "user"}, {"content", question}}, {{"role", "assistant"}, {"content", answer}}});
  return turns_.read({turns, row.where()}, row);
}

/// As LLaMA-Factory lays Alpaca's rows out for models with a template.
core::Json alpaca_turns(const core::JsonView& row) {
  const std::string input = row.get_string("input", "");
  core::Json turns = core::Json::array();
  if (row.has_value("history")) {
    const core::JsonView history = row.at("history");
    for (std::size_t i = 0; i < history.size(); ++i) {
      const std::vector<std::string> pair = history.at(i).as_strings();
      if (pair.size() != 2) history.at(i).fail("expected a question and its answer");
      turns.push_back({{"role", "user"}, {"content", pair[0]}});
      turns.push_back({{"role", "assistant"}, {"content", pair[1]}});
    }
  }
  turns.push_back(
      {{"role", "user"}, {"content", row.at("instruction").as_string() + (input.empty() ? "" : "\n" + input)}});
  return turns;
}

Conversation RowReader::of_alpaca(const core::JsonView& row) {
  core::Json turns = alpaca_turns(row);
  turns.push_back({{"role", "assistant"}, {"content", row.at("output").as_string()}});
  return turns_.read({turns, row.where()}, row);
}

}  // namespace lowrank::data
