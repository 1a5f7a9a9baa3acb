#include "lowrank/data/asked.h"

#include "lowrank/data/rows.h"

namespace lowrank::data {

const char* prompt_key(const core::JsonView& row) {
  if (!row.is_object()) return nullptr;
  for (const char* key : {"prompt", "question", "instruction"}) {
    if (row.has_value(key)) return key;
  }
  return nullptr;
}

Asked asked_by(const core::JsonView& row, TurnReader& turns, bool has_template) {
  if (auto conversation = turns.read_prompt(row)) return {std::move(conversation), ""};
  const char* const found = prompt_key(row);
  if (found == nullptr) no_prompt(row);
  const std::string key = found;
  if (key == "prompt") return {std::nullopt, row.at("prompt").as_string()};
  if (has_template) {
    core::Json asked = core::Json::array();
    if (key == "instruction") {
      asked = alpaca_turns(row);
    } else {
      asked.push_back({{"role", "user"}, {"content", row.at("question").as_string()}});
    }
    return {turns.read({asked, row.where()}, row), ""};
  }
  if (key == "question") return {std::nullopt, row.at("question").as_string() + "\n"};
  return {std::nullopt, alpaca_prompt(row)};
}

}  // namespace lowrank::data
