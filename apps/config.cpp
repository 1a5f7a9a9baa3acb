// `lowrank config`: another tool's settings file, written in our names.
#include <fmt/format.h>

#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/console/yaml_file.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/recipes/settings/convert.h"
#include "lowrank/recipes/settings/yaml_json.h"

namespace lowrank::apps {

namespace {

using core::Json;

constexpr std::size_t kLine = 400;  // characters of what a comment says

const Verb& verb_named(const std::string& name) {
  for (const Verb& one : verbs())
    if (one.name == name) return one;
  throw InternalError("a settings file was given a verb that is not there");
}

int config(const Options& options) {
  const Console console(options);
  const std::string file = options.positional(0);
  Json theirs;
  use_yaml_file(file, "a mapping of names to values", [&](const YAML::Node& root) { theirs = recipes::json_of_yaml(root); });
  std::vector<std::string> keys;
  for (const auto& [key, value] : theirs.items()) {
    keys.push_back(key);
    if (!value.is_object() || !value.contains("_component_")) continue;
    throw ConfigError(fmt::format("{}: {} has a _component_, as torchtune's settings have, which are not read (those of LLaMA-Factory, Axolotl, "
                                  "mlx-lm, TRL and PEFT are); lowrank finetune --help tells its own names", core::printable(file), core::printable(key)));
  }
  const std::string tool = recipes::tool_of(keys);
  if (tool.empty()) {
    throw ConfigError(
        fmt::format("{}: no tool's settings that are known (LLaMA-Factory, Axolotl, mlx-lm, TRL, PEFT); a "
                    "file in lowrank's own names is used as it is: lowrank finetune --config {}",
                    core::printable(file), core::printable(file)));
  }
  const auto options_of = [](const std::string& name) -> const std::vector<OptionSpec>& { return verb_named(name).options; };
  const recipes::ConvertedSettings ours = recipes::convert_settings(tool, file, theirs, {options_of, translate_option});
  const Verb& verb = verb_named(ours.verb);
  const std::string shown = core::printable(file, kLine);
  Json json = {{"tool", tool}, {"verb", ours.verb}, {"options", Json::object()}, {"left_out", Json::object()}};
  std::string text = fmt::format(
      "# {}'s {}, in the names of lowrank. Run it with:\n#   lowrank {} --config THIS_FILE\n", tool, shown, ours.verb);
  for (const recipes::ConvertedSettings::Setting& one : ours.settings) {
    json["options"][one.name] = one.value;
    text += fmt::format("{}: {}{}\n", one.name, recipes::yaml_of_json(one.value), one.remark.empty() ? "" : "  # " + core::printable(as_flags(verb, one.remark), kLine));
  }
  for (const OptionSpec& option : verb.options) {
    if (option.required && !json["options"].contains(option.name))
      text += fmt::format("# {}:   missing; {}\n", option.name, as_flags(verb, option.help));
  }
  if (!json["options"].contains("model")) text += "# model:   missing; give it after the verb\n";
  if (!ours.left_out.empty()) text += "\n# Left out:\n";
  for (const auto& [key, reason] : ours.left_out) {
    const std::string why = as_flags(verb, reason);
    json["left_out"][key] = why;
    text += fmt::format("#   {}: {}\n", core::printable(key, kLine), core::printable(why, kLine));
  }
  if (!ours.other_objective.empty()) {
    std::string which;
    for (const std::string& key : ours.other_objective)
      which += fmt::format("{}{} ({})", which.empty() ? "" : ", ", core::printable(key, kLine),
                           core::printable(json["left_out"][key].get<std::string>(), kLine));
    console.warning(fmt::format("{} says what is learned by {}: `lowrank {}` with what is written here learns something else", shown, which, ours.verb));
  }
  if (!console.silent()) print_out(text);
  console.result(json);
  return 0;
}

}  // namespace

Verb config_verb() {
  Verb verb;
  verb.name = "config";
  verb.summary = "Write a settings file of LLaMA-Factory, Axolotl, mlx-lm, TRL or PEFT in lowrank's names";
  verb.positionals = {"FILE"};
  verb.example = "lowrank config llama3_lora_sft.yaml > mine.yaml";
  verb.options = {option_json(), option_quiet()};
  verb.run = config;
  return verb;
}

}  // namespace lowrank::apps
