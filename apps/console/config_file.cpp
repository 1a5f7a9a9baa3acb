#include "lowrank/apps/console/config_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/core/text.h"
#include "lowrank/recipes/settings/convert.h"

namespace lowrank::apps {

namespace {

using core::Json;

bool takes_model(const Verb& verb) {
  return std::find(verb.positionals.begin(), verb.positionals.end(), "MODEL") != verb.positionals.end();
}

std::string with_dashes(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

const OptionSpec* option_of_name(const Verb& verb, const std::string& name) {
  const auto it = std::find_if(verb.options.begin(), verb.options.end(),
                               [&](const OptionSpec& option) { return option.name == name; });
  return it == verb.options.end() ? nullptr : &*it;
}

/// A name that is not in the verb's table, and the line where it stands.
struct Unknown {
  std::string key, where;
};

[[noreturn]] void refuse(const Verb& verb, const std::string& file, const std::vector<std::string>& keys,
                         const std::vector<Unknown>& unknown) {
  if (const std::string tool = recipes::tool_of(keys); !tool.empty()) {
    std::vector<std::string> answers;
    for (const Unknown& one : unknown) answers.push_back(core::printable(one.key) + answer_to(verb, one.key));
    throw ConfigError(fmt::format("{} is a file of {}: {}; `lowrank config {}` writes it in lowrank's names", file,
                                  tool, fmt::join(answers, ", "), core::printable(file)));
  }
  if (unknown.size() == 1) option_named(verb, unknown.front().key, unknown.front().where);
  std::vector<std::string> answers;
  for (const Unknown& one : unknown) answers.push_back(core::printable(one.key) + answer_to(verb, one.key));
  throw ConfigError(fmt::format("{}: lowrank {} has no {}; `lowrank {} --help all` lists what it has", file, verb.name,
                                fmt::join(answers, ", nor "), verb.name));
}

void read_table(const Verb& verb, const std::string& file, const YAML::Node& root, GivenOptions& given) {
  std::set<std::string> seen;
  std::vector<std::string> keys;
  std::vector<Unknown> unknown;
  std::string model;
  for (const auto& pair : root) {
    const std::string key = scalar_of(file, pair.first), where = place_of(file, pair.first);
    const std::string name = with_dashes(key);
    keys.push_back(key);
    if (!seen.insert(name).second) throw ConfigError(fmt::format("{}: '{}' stands there twice", where, key));
    const OptionSpec* const option = option_of_name(verb, name);
    if (option == nullptr && name == "model" && takes_model(verb)) {
      if (!pair.second.IsNull()) model = scalar_of(file, pair.second);
      continue;
    }
    if (option == nullptr) {
      unknown.push_back({key, where});
      continue;
    }
    if (given.values.count(name) != 0 || pair.second.IsNull()) continue;  // argv wins
    // Another tool's value of a name that is ours too is answered with the rest of its file.
    if (pair.second.IsMap() && !recipes::tool_of(keys).empty()) continue;
    given.values[name] = value_of(*option, file, key, pair.second);
    given.sources[name] = file;
  }
  if (!unknown.empty()) refuse(verb, file, keys, unknown);
  const auto at = std::find(verb.positionals.begin(), verb.positionals.end(), "MODEL") - verb.positionals.begin();
  if (!model.empty() && given.positionals.size() == static_cast<std::size_t>(at)) given.positionals.push_back(model);
}

/// A run.json: {"verb", "model": {"path", "name"}, "options": {...}}.
void read_run(const Verb& verb, const std::string& file, const YAML::Node& root, GivenOptions& given) {
  const std::string of = root["verb"].Scalar();
  if (of != verb.name) {
    throw ConfigError(
        fmt::format("{} is of `lowrank {}`, and this is `lowrank {}`: run that verb with it", file, of, verb.name));
  }
  YAML::Node options;
  // It lists every option; one at its default says no more than one that is left out, which may be what goes with the others.
  const core::Json saved = core::read_json(core::FileRef::named(file)).value("options", core::Json::object());
  const auto at_default = [&](const std::string& name) {
    const OptionSpec* const option = option_of_name(verb, name);
    return option != nullptr && saved.contains(name) && saved[name] == option->fallback;
  };
  for (const auto& pair : root["options"]) {
    const std::string name = scalar_of(file, pair.first);
    if (at_default(name)) continue;
    static const std::set<std::string> of_its_end = {"out", "resume", "overwrite", "force", "dry-run", "json", "quiet", "plain"};
    if (of_its_end.count(name) == 0) options[name] = pair.second;
  }
  if (takes_model(verb) && root["model"]) {
    const std::string path = root["model"]["path"].as<std::string>("");
    std::error_code none;
    options["model"] = std::filesystem::is_directory(path, none) ? path : root["model"]["name"].as<std::string>("");
  }
  read_table(verb, file, options, given);
}

}  // namespace

core::Json value_of(const OptionSpec& option, const std::string& file, const std::string& key, const YAML::Node& node) {
  const std::string where = place_of(file, node);
  const bool list = option.type == OptionType::kTexts;
  // "a,b" of argv may be a list in a file: names of modules, numbers of layers.
  const bool joined = option.value == "LIST" || option.value == "RANGES";
  if (node.IsMap()) throw ConfigError(fmt::format("{}: '{}' is a value or a list of values", where, key));
  if (node.IsSequence() && !list && !joined) throw ConfigError(fmt::format("{}: '{}' takes one value", where, key));
  if (node.IsScalar()) {
    const Json one = recipes::parse_value(option, node.Scalar(), where);
    return list ? Json::array({one}) : one;
  }
  Json values = Json::array();
  std::string words;
  for (const auto& item : node) {
    if (!item.IsScalar()) throw ConfigError(fmt::format("{}: '{}' is a list of plain values", where, key));
    values.push_back(recipes::parse_value(option, item.Scalar(), where));
    words += (words.empty() ? "" : ",") + item.Scalar();
  }
  return list ? values : Json(words);
}

void read_config_file(const Verb& verb, const std::string& file, GivenOptions& given) {
  use_yaml_file(file, "a mapping of option names to values", [&](const YAML::Node& root) {
    const bool is_run = root["lowrank"] && root["verb"] && root["options"] && root["options"].IsMap();
    if (is_run) {
      read_run(verb, file, root, given);
    } else {
      read_table(verb, file, root, given);
    }
  });
}

}  // namespace lowrank::apps
