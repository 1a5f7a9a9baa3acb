// `lowrank config`: another tool's settings file, written in our names.
#include <fmt/format.h>

#include <charconv>

#include "lowrank/apps/console/foreign_config.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/console/yaml_file.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"

namespace lowrank::apps {

namespace {

using core::Json;

constexpr std::size_t kLine = 400;  // characters of what a comment says

Json number_or_text(const std::string& text) {
  const char* const end = text.data() + text.size();
  if (std::int64_t n = 0; std::from_chars(text.data(), end, n).ptr == end && !text.empty()) return n;
  if (double x = 0; std::from_chars(text.data(), end, x).ptr == end && !text.empty()) return x;
  if (text == "true" || text == "True" || text == "yes" || text == "on") return true;
  if (text == "false" || text == "False" || text == "no" || text == "off") return false;
  return text;
}

Json json_of(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Map: {
      Json object = Json::object();
      for (const auto& pair : node) object[pair.first.Scalar()] = json_of(pair.second);
      // YAML's merge key: what these mappings say and this one does not.
      const Json merged = object.value("<<", Json());
      if (merged.is_structured()) object.erase("<<");
      for (const Json& one : merged.is_object() ? Json::array({merged}) : merged) {
        if (one.is_object()) object.insert(one.begin(), one.end());
      }
      return object;
    }
    case YAML::NodeType::Sequence: {
      Json list = Json::array();
      for (const auto& one : node) list.push_back(json_of(one));
      return list;
    }
    case YAML::NodeType::Scalar:
      return node.Tag() == "!" ? Json(node.Scalar()) : number_or_text(node.Scalar());  // "!": it stood in quotes
    default:
      return nullptr;
  }
}

/// As YAML reads it back.
std::string yaml_of(const Json& value) {
  if (value.is_array()) {
    std::string list;
    for (const Json& one : value) list += (list.empty() ? "" : ", ") + yaml_of(one);
    return "[" + list + "]";
  }
  if (!value.is_string()) return core::json_text(value);
  const std::string text = value.get<std::string>();
  const bool plain =
      !text.empty() && number_or_text(text).is_string() && text != "null" && text != "~" &&
      (std::isalpha(static_cast<unsigned char>(text.front())) || text.front() == '/' || text.front() == '.') &&
      text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-") == std::string::npos;
  return plain ? text : core::json_text(Json(text));
}

const Verb& verb_named(const std::string& name) {
  for (const Verb& one : verbs())
    if (one.name == name) return one;
  throw InternalError("a settings file was given a verb that is not there");
}

int config(const Options& options) {
  const Console console(options);
  const std::string file = options.positional(0);
  Json theirs;
  use_yaml_file(file, "a mapping of names to values", [&](const YAML::Node& root) { theirs = json_of(root); });
  std::vector<std::string> keys;
  for (const auto& [key, unused] : theirs.items()) keys.push_back(key);
  const std::string tool = tool_of(keys);
  if (tool.empty()) {
    throw ConfigError(
        fmt::format("{}: no tool's settings that are known (LLaMA-Factory, Axolotl, mlx-lm, TRL, PEFT); a "
                    "file in lowrank's own names is used as it is: lowrank finetune --config {}",
                    core::printable(file), core::printable(file)));
  }
  const auto options_of = [](const std::string& name) -> const std::vector<OptionSpec>& { return verb_named(name).options; };
  const Converted ours = convert(tool, file, theirs, options_of);
  const Verb& verb = verb_named(ours.verb);
  const std::string shown = core::printable(file, kLine);
  Json json = {{"tool", tool}, {"verb", ours.verb}, {"options", Json::object()}, {"left_out", Json::object()}};
  std::string text = fmt::format(
      "# {}'s {}, in the names of lowrank. Run it with:\n#   lowrank {} --config THIS_FILE\n", tool, shown, ours.verb);
  for (const Converted::Setting& one : ours.settings) {
    json["options"][one.name] = one.value;
    text += fmt::format("{}: {}{}\n", one.name, yaml_of(one.value), one.remark.empty() ? "" : "  # " + core::printable(as_flags(verb, one.remark), kLine));
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
