#include "lowrank/data/turns_in_text.h"

#include <array>
#include <string>
#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/core/json_row.h"
#include "lowrank/data/json_faults.h"

namespace lowrank::data {
namespace {

constexpr std::array kColumns = {"messages", "conversations", "conversation", "dialog", "prompt", "completion", "chosen", "rejected"};

/// What follows the first letter, and blanks.
std::string_view behind(std::string_view text, char first) {
  constexpr const char* kBlank = " \t\r\n";
  const auto skip = [&] { text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size())); };
  skip();
  if (text.empty() || text.front() != first) return {};
  text.remove_prefix(1);
  skip();
  return text;
}

bool begins_with_a_turn(std::string_view text, char quote) {
  for (const char* key : {"role", "content", "from", "value"}) {
    const std::string name = quote + std::string(key) + quote;
    if (text.substr(0, name.size()) == name) return true;
  }
  return false;
}

bool is_turn(const core::Json& value) {
  return value.is_object() && ((value.contains("role") && value.contains("content")) || (value.contains("from") && value.contains("value")));
}

}  // namespace

std::optional<core::Json> with_turns_read(const core::JsonView& row) {
  if (!row.is_object()) return std::nullopt;
  std::optional<core::Json> result;
  for (const char* column : kColumns) {
    if (!row.has(column) || !row.at(column).is_string()) continue;
    const std::string& text = row.raw()[column].get_ref<const std::string&>();
    std::string_view inner = behind(text, '[');
    const bool list = !inner.empty();
    inner = behind(list ? inner : std::string_view(text), '{');
    if (inner.empty()) continue;
    const std::string where = row.at(column).where();
    if (begins_with_a_turn(inner, '\''))
      throw DataError(where + ": not valid JSON, but turns as Python prints them; write the column with json.dumps (pandas: "
                              "df[column].map(json.dumps)), or the rows as JSON lines");
    if (inner.front() != '"') continue;
    core::Json turns;
    try {
      turns = parse_row(text, where);
    } catch (const DataError&) {
      if (begins_with_a_turn(inner, '"')) throw;
      continue;  // a text that begins so
    }
    if (!is_turn(list ? turns.front() : turns)) continue;
    if (!result) result = row.raw();
    (*result)[column] = std::move(turns);
  }
  return result;
}

}  // namespace lowrank::data
