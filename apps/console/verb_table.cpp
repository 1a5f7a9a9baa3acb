#include "lowrank/apps/console/verb_table.h"

#include <algorithm>
#include <array>
#include <utility>

namespace lowrank::apps {

using core::Json;
using core::JsonView;

namespace {

constexpr std::array<std::pair<OptionType, const char*>, 5> kTypes = {{{OptionType::kFlag, "flag"},
                                                                       {OptionType::kInt, "integer"},
                                                                       {OptionType::kNumber, "number"},
                                                                       {OptionType::kText, "text"},
                                                                       {OptionType::kTexts, "texts"}}};

Json option_json_of(const OptionSpec& option) {
  Json json = {{"name", option.name}};
  for (const auto& [type, name] : kTypes)
    if (type == option.type) json["type"] = name;
  json["value"] = option.value;
  json["default"] = option.fallback;
  json["group"] = option.group;
  json["help"] = option.help;
  if (!option.choices.empty()) json["choices"] = option.choices;
  if (option.required) json["required"] = true;
  if (option.range) json["range"] = {option.range->first, option.range->second};
  return json;
}

OptionSpec option_from(const JsonView& json) {
  OptionSpec option;
  option.name = json.at("name").as_string();
  const std::string named = json.at("type").as_string();
  const auto type = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& one) { return named == one.second; });
  if (type == kTypes.end()) json.at("type").fail("is no type of an option");
  option.type = type->first;
  option.value = json.at("value").as_string();
  option.fallback = json.at("default").raw();
  option.group = json.at("group").as_string();
  option.help = json.at("help").as_string();
  if (json.has("choices")) option.choices = json.at("choices").as_strings();
  option.required = json.get_bool("required", false);
  if (json.has("range")) option.range = {json.at("range").at(0).as_double(), json.at("range").at(1).as_double()};
  return option;
}

}  // namespace

bool asks_for_table(const std::vector<std::string>& words) {
  return words.size() == 2 && words[0] == "--help" && words[1] == "--json";
}

Json to_json(const std::vector<Verb>& verbs) {
  Json json = {{"version", LOWRANK_VERSION}, {"verbs", Json::array()}};
  for (const Verb& verb : verbs) {
    Json options = Json::array();
    for (const OptionSpec& option : verb.options) options.push_back(option_json_of(option));
    json["verbs"].push_back({{"name", verb.name},
                             {"summary", verb.summary},
                             {"positionals", verb.positionals},
                             {"example", verb.example},
                             {"options", std::move(options)}});
  }
  return json;
}

std::vector<Verb> verbs_from_json(const JsonView& json) {
  std::vector<Verb> verbs;
  if (json.at("version").as_string() != LOWRANK_VERSION) return verbs;
  const JsonView all = json.at("verbs");
  for (std::size_t i = 0; i < all.size(); ++i) {
    Verb verb;
    verb.name = all.at(i).at("name").as_string();
    verb.summary = all.at(i).at("summary").as_string();
    verb.positionals = all.at(i).at("positionals").as_strings();
    verb.example = all.at(i).at("example").as_string();
    const JsonView options = all.at(i).at("options");
    for (std::size_t o = 0; o < options.size(); ++o) verb.options.push_back(option_from(options.at(o)));
    verbs.push_back(std::move(verb));
  }
  return verbs;
}

}  // namespace lowrank::apps
