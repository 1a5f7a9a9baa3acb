#include "lowrank/recipes/search/sweep_trials.h"

#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"

namespace lowrank::recipes {

namespace {

using core::Json;
using train::Trial;

constexpr const char* name(Trial::State state) {
  switch (state) {
    case Trial::State::kComplete:
      return "complete";
    case Trial::State::kPruned:
      return "pruned";
    case Trial::State::kFailed:
      return "failed";
  }
  return "";
}

Trial::State parse_state(const core::JsonView& json) {
  const std::string text = json.as_string();
  for (const Trial::State state : {Trial::State::kComplete, Trial::State::kPruned, Trial::State::kFailed})
    if (text == name(state)) return state;
  json.fail(fmt::format("expected complete, pruned or failed, found '{}'", core::printable(text)));
}

}  // namespace

train::Assignment options_from(const core::JsonView& json) {
  train::Assignment options;
  for (const std::string& key : json.keys()) options.emplace_back(key, json.at(key).raw());
  return options;
}

Trial trial_from(const core::JsonView& json) {
  Trial trial;
  trial.number = json.at("trial").as_int(0);
  trial.options = options_from(json.at("options"));
  if (json.has_value("value")) trial.value = json.at("value").as_double();
  trial.state = parse_state(json.at("state"));
  trial.steps = json.at("steps").as_int(0);
  trial.reason = json.get_string("reason", "");
  const core::JsonView rungs = json.at("rungs");
  for (std::size_t i = 0; i < rungs.size(); ++i)
    trial.rungs.emplace_back(rungs.at(i).at(std::size_t{0}).as_int(1), rungs.at(i).at(std::size_t{1}).as_double());
  return trial;
}

Json to_json(const train::Assignment& options) {
  Json json = Json::object();
  for (const auto& [key, value] : options) json[key] = value;
  return json;
}

Json to_json(const Trial& trial) {
  Json rungs = Json::array();
  for (const auto& [step, loss] : trial.rungs) rungs.push_back({step, loss});
  Json json = {{"trial", trial.number},
               {"options", to_json(trial.options)},
               {"value", trial.value ? Json(*trial.value) : Json(nullptr)},
               {"state", name(trial.state)},
               {"steps", trial.steps},
               {"rungs", rungs}};
  if (!trial.reason.empty()) json["reason"] = trial.reason;
  return json;
}

std::vector<Trial> read_trials(const std::filesystem::path& file) {
  std::vector<Trial> trials;
  if (!std::filesystem::exists(file)) return trials;
  const std::string text = core::read_file(file);
  std::size_t line = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string where = fmt::format("{} line {}", file.string(), ++line);
    const Json json = core::parse_json(std::string_view(text).substr(begin, end - begin), where);
    trials.push_back(trial_from(core::JsonView(json, where)));
    if (trials.back().number != static_cast<std::int64_t>(trials.size()) - 1)
      throw FormatError(fmt::format("{}: expected trial {}, found {}", where, trials.size() - 1, trials.back().number));
    begin = end + 1;
  }
  return trials;
}

void write_trials(const std::filesystem::path& file, const std::vector<Trial>& trials) {
  std::string text;
  for (const Trial& trial : trials) text += core::json_text(to_json(trial)) + "\n";
  core::write_file(file, text);
}

}  // namespace lowrank::recipes
