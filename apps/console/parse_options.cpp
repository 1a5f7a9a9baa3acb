#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "lowrank/apps/console/config_file.h"
#include "lowrank/apps/console/words.h"
#include "lowrank/core/error.h"
#include "lowrank/core/table.h"
#include "lowrank/core/text.h"

namespace lowrank::apps {

namespace {

using core::Json;

/// One word too many, in words; `arguments` say what stands before it.
[[noreturn]] void one_too_many(const Verb& verb, const std::string& word, const std::vector<std::string>& arguments) {
  std::string takes;
  for (const std::string& name : verb.positionals) takes += (takes.empty() ? "" : " and ") + name;
  std::string hint;
  for (std::size_t i = 2; i < arguments.size(); ++i) {
    if (arguments[i] != word || !arguments[i - 2].starts_with("--")) continue;
    const OptionSpec* const option = find_option(verb, arguments[i - 2].substr(2));
    if (option == nullptr || option->type == OptionType::kFlag || option->type == OptionType::kTexts) continue;
    const bool list = option->value == "LIST" || option->value == "RANGES";
    hint = fmt::format("; {} takes one value: {}", arguments[i - 2],
                       core::shell_quoted(arguments[i - 1] + (list ? "," : " ") + word));
  }
  throw ConfigError(
      fmt::format("lowrank {}: '{}' was not expected: {}{}; see `lowrank {} --help`", verb.name, core::printable(word),
                  takes.empty() ? "no word stands by itself here" : "beside the options it takes " + takes + " alone",
                  hint, verb.name));
}

}  // namespace

Options parse_options(const Verb& verb, const std::vector<std::string>& arguments) {
  const OptionWords words = look_at(verb, arguments);
  CLI::App app(verb.summary, "lowrank " + verb.name);
  app.set_help_flag();
  std::string config_file;
  // pretrain's --config is the model's config.json
  if (find_option(verb, "config") == nullptr) app.add_option("--config", config_file);

  std::map<std::string, std::string> text_values;
  std::map<std::string, std::vector<std::string>> list_values;
  std::map<std::string, bool> flag_values;
  std::map<std::string, CLI::Option*> handles;
  for (const OptionSpec& option : verb.options) {
    const std::string flag = "--" + option.name;
    CLI::Option*& handle = handles[option.name];
    if (option.type == OptionType::kFlag) {
      handle = app.add_flag(flag, flag_values[option.name]);
    } else if (option.type == OptionType::kTexts) {
      handle = app.add_option(flag, list_values[option.name]);
      // "N..." takes what follows, "N" one value each time it is given.
      if (!option.value.ends_with("...")) handle->allow_extra_args(false);
    } else {
      handle = app.add_option(flag, text_values[option.name])->expected(1);
    }
  }
  GivenOptions given;
  app.add_option("positionals", given.positionals)->expected(0, 1 << 20);
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // CLI11 takes them so
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    throw ConfigError(fmt::format("lowrank {}: {}", verb.name, error.what()));
  }
  if (given.positionals.size() > verb.positionals.size())
    one_too_many(verb, given.positionals[verb.positionals.size()], arguments);

  for (const OptionSpec& option : verb.options) {
    if (handles[option.name]->count() == 0) continue;
    given.sources[option.name] = "command line";
    Json& value = given.values[option.name];
    if (option.type == OptionType::kFlag) {
      value = flag_values[option.name];
    } else if (option.type == OptionType::kTexts) {
      value = Json::array();
      for (const std::string& text : list_values[option.name])
        value.push_back(recipes::parse_value(option, text, "command line"));
    } else {
      value = recipes::parse_value(option, text_values[option.name], "command line");
    }
  }
  if (!config_file.empty()) read_config_file(verb, config_file, given);

  std::vector<std::string> missing;
  for (std::size_t i = given.positionals.size(); i < verb.positionals.size(); ++i) {
    if (verb.positionals[i].front() != '[') missing.push_back(verb.positionals[i]);
  }
  std::string taken;
  if (!missing.empty() && !words.greedy.empty())
    taken = fmt::format(" ({} takes every word up to the next option: {} goes before it)", words.greedy.back(), missing.front());
  for (const OptionSpec& option : verb.options) {
    if (given.values.count(option.name) != 0) continue;
    if (option.required) missing.push_back("--" + option.name);
    if (!option.fallback.is_null()) given.values[option.name] = option.fallback;
  }
  if (!missing.empty()) {
    const std::string last = missing.back();
    missing.pop_back();
    throw ConfigError(fmt::format("lowrank {}: {}{} missing{}; example: {}", verb.name,
                                  missing.empty() ? "" : fmt::format("{} and ", fmt::join(missing, ", ")),
                                  last + (missing.empty() ? " is" : " are"), taken, verb.example));
  }

  std::string command = "lowrank " + verb.name;
  for (const std::string& argument : arguments) command += " " + core::shell_quoted(argument);
  return Options(verb, std::move(given.values), std::move(given.sources), std::move(given.positionals),
                 std::move(command));
}

}  // namespace lowrank::apps
