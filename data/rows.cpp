#include "lowrank/data/rows.h"

#include <algorithm>
#include <array>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/conversation.h"

namespace lowrank::data {
namespace {

struct Keys {
  RowKeys keys;
  Format format;
  const char* name;
  std::vector<std::string> needed, optional;
};

/// In the order in which a first row is tried: a row of messages may well have a "prompt" or "text" beside them.
const std::array<Keys, 8>& table() {
  static const std::array<Keys, 8> keys = {{
      {RowKeys::kMessages, Format::kMessages, "messages", {"messages"}, {}},
      {RowKeys::kShareGpt, Format::kShareGpt, "ShareGPT", {"conversations"}, {"system"}},
      {RowKeys::kShareGpt, Format::kShareGpt, "ShareGPT", {"conversation"}, {"system"}},
      {RowKeys::kShareGpt, Format::kShareGpt, "ShareGPT", {"dialog"}, {"system"}},
      {RowKeys::kCompletion, Format::kCompletion, "prompt/completion", {"prompt", "completion"}, {}},
      {RowKeys::kAlpaca, Format::kAlpaca, "Alpaca", {"instruction", "output"}, {"input"}},
      {RowKeys::kQuestion, Format::kCompletion, "question/answer", {"question", "answer"}, {}},
      {RowKeys::kText, Format::kText, "text", {"text"}, {}},
  }};
  return keys;
}

/// `turns_key`: where the turns of a conversation stand; empty: anywhere.
const Keys& entry(RowKeys keys, const std::string& turns_key = "") {
  return *std::find_if(table().begin(), table().end(), [&](const Keys& k) {
    return k.keys == keys && (turns_key.empty() || k.needed[0] == turns_key);
  });
}

bool has_all(const core::JsonView& row, const Keys& keys) {
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

}  // namespace

std::string row_keys_name(RowKeys keys) { return entry(keys).name; }

bool is_conversation(RowKeys keys) { return keys == RowKeys::kMessages || keys == RowKeys::kShareGpt; }

std::string alpaca_prompt(const std::string& instruction, const std::string& input) {
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
    if (format_ != Format::kAuto && keys.format != format_) continue;
    if (has_all(row, keys)) {
      keys_ = keys.keys;
      if (is_conversation(keys.keys)) turns_key_ = keys.needed[0];
      return;
    }
    known += (known.empty() ? "" : ", ") + braces(keys.needed);
  }
  throw DataError(row.where() + ": no " + (format_ == Format::kAuto ? "known format" : format_name(format_) + " row") +
                  "; expected the keys " + known + ", found " + found_keys(row));
}

std::vector<Span> RowReader::read(const core::JsonView& row) {
  if (row.is_array() && row.size() > 0 && row.at(0).is_object()) {
    throw DataError(row.where() + ": a row is a list of turns; give each row as {\"messages\": [the turns]}");
  }
  if (!row.is_object()) {
    throw DataError(row.where() + ": a row is an object such as {\"text\": \"…\"}, found " + row.raw().type_name());
  }
  if (!keys_) settle_keys(row);
  const Keys& keys = entry(*keys_, turns_key_);
  if (!has_all(row, keys)) {
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
  }
  for (const std::string& key : row.keys()) {
    const auto is_key = [&](const std::string& k) { return k == key; };
    const bool read = std::any_of(keys.needed.begin(), keys.needed.end(), is_key) ||
                      std::any_of(keys.optional.begin(), keys.optional.end(), is_key);
    if (!read) unread_.insert(key);
  }

  try {
    switch (*keys_) {
      case RowKeys::kText:
        return {{row.at("text").as_string(), true, true}};
      case RowKeys::kCompletion:
        return {{row.at("prompt").as_string(), false, false}, {row.at("completion").as_string(), true, true}};
      case RowKeys::kQuestion:
        return {{row.at("question").as_string() + "\n", false, false}, {row.at("answer").as_string(), true, true}};
      case RowKeys::kAlpaca:
        return {{alpaca_prompt(row.at("instruction").as_string(), row.get_string("input", "")), false, false},
                {row.at("output").as_string(), true, true}};
      case RowKeys::kMessages:
        return conversation_spans(row.at(keys.needed[0]), "", has_end_token_, &unread_);
      case RowKeys::kShareGpt:
        return conversation_spans(row.at(keys.needed[0]), row.get_string("system", ""), has_end_token_, &unread_);
    }
  } catch (const FormatError& e) {  // a value of a wrong type: a fault of the data, not of a file format
    throw DataError(e.what());
  }
  throw InternalError("RowReader: no such keys");
}

}  // namespace lowrank::data
