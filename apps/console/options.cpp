#include "lowrank/apps/console/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <set>

#include "lowrank/apps/console/terminal.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"
#include "lowrank/recipes/spec/specs.h"

namespace lowrank::apps {

namespace {

using core::Json;

/// As the user writes them: with dashes in argv, without in files.
std::vector<std::string> option_names(const Verb& verb, bool dashes) {
  std::vector<std::string> names;
  for (const OptionSpec& option : verb.options) names.push_back((dashes ? "--" : "") + option.name);
  return names;
}

const OptionSpec* find_option(const Verb& verb, const std::string& name) {
  for (const OptionSpec& option : verb.options) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

/// The answer to an option that is not in the table.
[[noreturn]] void unknown_option(const Verb& verb, const std::string& name, const std::string& where) {
  if (const auto ours = translate_option(name)) {
    throw ConfigError(fmt::format("{}: lowrank {} has no {}; here it is {}", where, verb.name, name, *ours));
  }
  throw ConfigError(fmt::format("{}: unknown option {}{}; `lowrank {} --help` lists them all", where, name,
                                core::did_you_mean(name, option_names(verb, name.starts_with("--"))), verb.name));
}

}  // namespace

const OptionSpec& option_named(const Verb& verb, const std::string& name, const std::string& where) {
  const OptionSpec* const option = find_option(verb, name);
  if (option == nullptr) unknown_option(verb, name, where);
  return *option;
}

namespace {

/// argv is checked against the table before CLI11 sees it, because its own error for an unknown option knows no names.
void check_names(const Verb& verb, const std::vector<std::string>& arguments) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--") return;
    if (argument.size() < 3 || argument.compare(0, 2, "--") != 0) continue;
    const std::string name = argument.substr(0, argument.find('='));
    if (name == "--help") continue;
    const OptionSpec* option = find_option(verb, name.substr(2));
    if (option == nullptr && name == "--config") {
      if (argument == name) ++i;
      continue;
    }
    if (option == nullptr) unknown_option(verb, name, "command line");
    if (option->type != OptionType::kFlag && option->type != OptionType::kTexts && argument == name) ++i;
  }
}

/// The keys of a --config file, checked and converted by the same table.
void read_config_file(const Verb& verb, const std::string& file, std::map<std::string, Json>& values,
                      std::map<std::string, std::string>& sources) {
  YAML::Node root;
  try {
    root = YAML::Load(core::read_file(file, 1 << 20));
  } catch (const YAML::Exception& error) {
    throw ConfigError(fmt::format("{} line {}: not valid YAML: {}", file, error.mark.line + 1, error.msg));
  }
  if (!root.IsMap()) throw ConfigError(file + ": expected a mapping of option names to values at the top");
  std::set<std::string> seen;
  for (const auto& pair : root) {
    const std::string key = pair.first.as<std::string>();
    const std::string where = fmt::format("{} line {}", file, pair.first.Mark().line + 1);
    const OptionSpec* const option = &option_named(verb, key, where);
    if (!seen.insert(key).second) throw ConfigError(fmt::format("{}: '{}' stands there twice", where, key));
    if (values.count(key) != 0) continue;  // argv wins
    const YAML::Node& node = pair.second;
    if (node.IsNull()) continue;
    if (option->type == OptionType::kTexts) {
      Json list = Json::array();
      if (node.IsSequence()) {
        for (const auto& item : node) {
          if (!item.IsScalar()) throw ConfigError(fmt::format("{}: '{}' is a list of plain values", where, key));
          list.push_back(recipes::parse_value(*option, item.as<std::string>(), where));
        }
      } else if (node.IsScalar()) {
        list.push_back(recipes::parse_value(*option, node.as<std::string>(), where));
      } else {
        throw ConfigError(fmt::format("{}: '{}' is a value or a list of values", where, key));
      }
      values[key] = list;
    } else {
      if (!node.IsScalar()) throw ConfigError(fmt::format("{}: '{}' takes one value", where, key));
      values[key] = recipes::parse_value(*option, node.as<std::string>(), where);
    }
    sources[key] = file;
  }
}

/// CLI11's own usage line knows neither verbs nor examples.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string usage;
  std::string make_usage(const CLI::App*, std::string) const override { return usage; }
};

}  // namespace

Options::Options(const Verb& verb, std::map<std::string, Json> values, std::map<std::string, std::string> sources,
                 std::vector<std::string> positionals, std::string command_line)
    : verb_(&verb),
      values_(std::move(values)),
      sources_(std::move(sources)),
      positionals_(std::move(positionals)),
      command_line_(std::move(command_line)) {}

bool Options::has(const std::string& name) const {
  const auto it = values_.find(name);
  return it != values_.end() && !it->second.is_null();
}

bool Options::given(const std::string& name) const { return sources_.count(name) != 0; }

Json Options::value(const std::string& name) const { return has(name) ? values_.at(name) : Json(nullptr); }

std::string Options::source(const std::string& name) const {
  const auto it = sources_.find(name);
  return it == sources_.end() ? "" : it->second;
}

bool Options::flag(const std::string& name) const { return has(name) && values_.at(name).get<bool>(); }

std::int64_t Options::integer(const std::string& name) const { return values_.at(name).get<std::int64_t>(); }

double Options::number(const std::string& name) const { return values_.at(name).get<double>(); }

std::string Options::text(const std::string& name) const { return values_.at(name).get<std::string>(); }

std::vector<std::string> Options::texts(const std::string& name) const {
  return has(name) ? values_.at(name).get<std::vector<std::string>>() : std::vector<std::string>{};
}

std::vector<std::filesystem::path> Options::paths(const std::string& name) const {
  std::vector<std::filesystem::path> result;
  for (const std::string& text : texts(name)) result.emplace_back(text);
  return result;
}

void Options::fail(const std::string& name, const std::string& problem) const {
  const auto it = sources_.find(name);
  const bool from_file = it != sources_.end() && it->second != "command line";
  throw ConfigError(fmt::format("{}--{}: {}", from_file ? it->second + ": " : "", name, problem));
}

std::int64_t Options::integer_in(const std::string& name, std::int64_t low, std::int64_t high) const {
  const std::int64_t value = integer(name);
  if (value < low || value > high) fail(name, fmt::format("expected {} to {}, found {}", low, high, value));
  return value;
}

double Options::number_in(const std::string& name, double low, double high) const {
  const double value = number(name);
  if (value < low || value > high) fail(name, fmt::format("expected {} to {}, found {}", low, high, value));
  return value;
}

Json Options::resolved() const {
  Json json = Json::object();
  for (const OptionSpec& option : verb_->options) {
    const auto it = values_.find(option.name);
    json[option.name] = it == values_.end() ? Json(nullptr) : it->second;
  }
  return json;
}

Options Options::for_verb(const Verb& verb, const std::map<std::string, Json>& changes, const std::string& source,
                          std::size_t skip) const {
  std::map<std::string, Json> values;
  std::map<std::string, std::string> sources;
  std::vector<std::string> positionals(positionals_.begin() + static_cast<std::ptrdiff_t>(skip), positionals_.end());
  std::string command = "lowrank " + verb.name;
  for (const std::string& positional : positionals) command += " " + shell_quoted(positional);
  for (const OptionSpec& option : verb.options) {
    const auto change = changes.find(option.name);
    if (change != changes.end()) {
      sources[option.name] = source;
      values[option.name] = change->second;
    } else if (given(option.name)) {
      sources[option.name] = sources_.at(option.name);
      values[option.name] = values_.at(option.name);
    } else {
      if (!option.fallback.is_null()) values[option.name] = option.fallback;
      continue;
    }
    const Json& value = values[option.name];
    if (value.is_null() || value == Json(false)) continue;
    command += " --" + option.name;
    const auto add = [&](const Json& one) {
      command += " " + shell_quoted(one.is_string() ? one.get<std::string>() : one.dump());
    };
    if (value.is_array()) {
      for (const Json& one : value) add(one);
    } else if (!value.is_boolean()) {
      add(value);
    }
  }
  return Options(verb, std::move(values), std::move(sources), std::move(positionals), std::move(command));
}

std::optional<Options> parse_options(const Verb& verb, const std::vector<std::string>& arguments) {
  check_names(verb, arguments);

  CLI::App app(verb.summary, "lowrank " + verb.name);
  app.set_help_flag("--help", "Print this help");
  std::string config_file;
  if (find_option(verb, "config") == nullptr) {  // pretrain's --config is the model's config.json
    app.add_option("--config", config_file, "Options from a YAML or JSON file (argv wins)")
        ->type_name("FILE")
        ->group("General");
  }

  std::map<std::string, std::string> text_values;
  std::map<std::string, std::vector<std::string>> list_values;
  std::map<std::string, bool> flag_values;
  std::map<std::string, CLI::Option*> handles;
  for (const OptionSpec& option : verb.options) {
    std::string help = as_flags(verb, option.help);
    if (!option.choices.empty()) help += fmt::format(" ({})", fmt::join(option.choices, ", "));
    if (!option.fallback.is_null() && option.type != OptionType::kFlag) {
      help += " [" + (option.fallback.is_string() ? option.fallback.get<std::string>() : option.fallback.dump()) + "]";
    }
    CLI::Option* handle = nullptr;
    const std::string flag = "--" + option.name;
    if (option.type == OptionType::kFlag) {
      handle = app.add_flag(flag, flag_values[option.name], help);
    } else if (option.type == OptionType::kTexts) {
      handle = app.add_option(flag, list_values[option.name], help)->type_name(option.value);
      // "N..." takes what follows, "N" one value each time it is given.
      if (!option.value.ends_with("...")) handle->allow_extra_args(false);
    } else {
      handle = app.add_option(flag, text_values[option.name], help)->type_name(option.value)->expected(1);
    }
    handle->group(option.group.empty() ? "General" : option.group);
    handles[option.name] = handle;
  }
  std::vector<std::string> positionals;
  std::size_t needed = 0;
  for (const std::string& name : verb.positionals) needed += name.front() == '[' ? 0 : 1;
  if (!verb.positionals.empty()) {
    app.add_option("positionals", positionals)->group("")->expected(0, static_cast<int>(verb.positionals.size()));
  }
  const auto formatter = std::make_shared<HelpFormatter>();
  formatter->column_width(34);
  formatter->usage = "Usage: lowrank " + verb.name;
  for (const std::string& name : verb.positionals) formatter->usage += " " + name;
  formatter->usage += " [options]\nExample: " + verb.example + "\n";
  app.formatter(formatter);

  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // CLI11 takes them so
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    print_out(app.help());
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    throw ConfigError(fmt::format("lowrank {}: {}", verb.name, error.what()));
  }
  if (positionals.size() < needed) {
    throw ConfigError(fmt::format("lowrank {}: {} is missing; example: {}", verb.name,
                                  verb.positionals[positionals.size()], verb.example));
  }

  std::map<std::string, Json> values;
  std::map<std::string, std::string> sources;
  for (const OptionSpec& option : verb.options) {
    if (handles[option.name]->count() == 0) continue;
    sources[option.name] = "command line";
    if (option.type == OptionType::kFlag) {
      values[option.name] = flag_values[option.name];
    } else if (option.type == OptionType::kTexts) {
      Json list = Json::array();
      for (const std::string& text : list_values[option.name])
        list.push_back(recipes::parse_value(option, text, "command line"));
      values[option.name] = list;
    } else {
      values[option.name] = recipes::parse_value(option, text_values[option.name], "command line");
    }
  }
  if (!config_file.empty()) read_config_file(verb, config_file, values, sources);
  for (const OptionSpec& option : verb.options) {
    if (values.count(option.name) != 0) continue;
    if (option.required) {
      throw ConfigError(fmt::format("lowrank {}: --{} is missing; example: {}", verb.name, option.name, verb.example));
    }
    if (!option.fallback.is_null()) values[option.name] = option.fallback;
  }

  std::string command = "lowrank " + verb.name;
  for (const std::string& argument : arguments) command += " " + shell_quoted(argument);
  return Options(verb, std::move(values), std::move(sources), std::move(positionals), std::move(command));
}

std::string as_flags(const Verb& verb, const std::string& text) {
  return recipes::spell_fields(text, [&](const std::string& name) {
    return find_option(verb, name) != nullptr ? "--" + name : "`" + name + "`";
  });
}

OptionSpec option_json() {
  return {"json",   OptionType::kFlag,
          "",       false,
          "Output", "One JSON object on stdout and nothing else there",
          {},       false,
          {},       recipes::Identity::kFree,
          false};
}
OptionSpec option_quiet() {
  return {"quiet", OptionType::kFlag,        "",   false, "Output", "Errors only", {}, false,
          {},      recipes::Identity::kFree, false};
}
OptionSpec option_threads() { return recipes::threads_field(); }
OptionSpec option_dtype() { return recipes::dtype_field(); }
OptionSpec option_adapter() {
  return {"adapter", OptionType::kText, "DIR", nullptr, "Adapter", "A PEFT adapter directory", {}};
}
OptionSpec option_format() { return recipes::format_field(); }
OptionSpec option_seq_len(const std::string& help) {
  return {"seq-len", OptionType::kInt, "N", nullptr, "Data", help, {}};
}

}  // namespace lowrank::apps
