#include "lowrank/apps/console/options.h"

#include <fmt/format.h>

#include <limits>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/table.h"
#include "lowrank/core/text.h"

namespace lowrank::apps {

namespace {

using core::Json;

/// As the user writes them: with dashes in argv, without in files.
std::vector<std::string> option_names(const Verb& verb, bool dashes) {
  std::vector<std::string> names;
  for (const OptionSpec& option : verb.options) names.push_back((dashes ? "--" : "") + option.name);
  return names;
}

/// The answer to an option that is not in the table.
[[noreturn]] void unknown_option(const Verb& verb, const std::string& name, const std::string& where) {
  throw ConfigError(fmt::format("{}: lowrank {} has no {}{}; `lowrank {} --help all` lists what it has", where,
                                verb.name, core::printable(name), answer_to(verb, name), verb.name));
}

}  // namespace

const OptionSpec* find_option(const Verb& verb, const std::string& name) {
  for (const OptionSpec& option : verb.options) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

std::string answer_to(const Verb& verb, const std::string& name, const std::string& value) {
  std::optional<std::string> ours = translate_option(name);
  if (ours == "--method" && (value == "dora" || value == "DoRA")) ours = "--dora";
  if (ours) return fmt::format(" ({}{})", ours->starts_with("--") || ours->starts_with("the ") ? "here: " : "", *ours);
  const auto near = core::nearest(name, option_names(verb, name.starts_with("--")));
  return near ? fmt::format(" (did you mean {}?)", *near) : "";
}

const OptionSpec& option_named(const Verb& verb, const std::string& name, const std::string& where) {
  const OptionSpec* const option = find_option(verb, name);
  if (option == nullptr) unknown_option(verb, name, where);
  return *option;
}

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
  if (value < low && high == std::numeric_limits<double>::max()) fail(name, fmt::format("expected {} or more, found {}", low, value));
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
  for (const std::string& positional : positionals) command += " " + core::shell_quoted(positional);
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
      command += " " + core::shell_quoted(one.is_string() ? one.get<std::string>() : core::json_text(one));
    };
    if (value.is_array()) {
      for (const Json& one : value) add(one);
    } else if (!value.is_boolean()) {
      add(value);
    }
  }
  return Options(verb, std::move(values), std::move(sources), std::move(positionals), std::move(command));
}

std::string as_flags(const Verb& verb, const std::string& text) {
  return recipes::spell_fields(text, [&](const std::string& name) {
    return find_option(verb, name) != nullptr ? "--" + name : "`" + name + "`";
  });
}

}  // namespace lowrank::apps
