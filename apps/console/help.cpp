#include "lowrank/apps/console/help.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "lowrank/apps/console/wrap.h"
#include "lowrank/core/json_text.h"

namespace lowrank::apps {

namespace {

constexpr std::size_t kMany = 32;         // options; of more only those that are needed first are shown
constexpr std::size_t kWidestName = 26;   // a longer name has its help on the next line
constexpr std::size_t kWidestText = 110;  // longer lines are hard to read

/// "--rank N"
std::string name_of(const OptionSpec& option) {
  return "--" + option.name + (option.type == OptionType::kFlag || option.value.empty() ? "" : " " + option.value);
}

std::string text_of(const Verb& verb, const OptionSpec& option) {
  std::string text = (option.required ? "Required. " : "") + as_flags(verb, option.help);
  // Those of a number are words that may stand for it: its help says what they do.
  const bool listed = !option.choices.empty() && option.type != OptionType::kNumber;
  if (listed) text += fmt::format(" ({})", fmt::join(option.choices, ", "));
  if (!option.fallback.is_null() && option.type != OptionType::kFlag) {
    text += " [" + (option.fallback.is_string() ? option.fallback.get<std::string>() : core::json_text(option.fallback)) + "]";
  }
  return text;
}

std::string row(const std::string& name, const std::string& text, std::size_t columns) {
  const std::size_t indent = kWidestName + 4;
  const std::string left = "  " + name;
  if (name.size() > kWidestName) return left + "\n" + wrapped(std::string(indent, ' ') + text, columns, indent) + "\n";
  return wrapped(left + std::string(indent - left.size(), ' ') + text, columns, indent) + "\n";
}

}  // namespace

bool needed_first(const std::string& option) {
  static const std::set<std::string> names = {
      "data",   "format",     "val-data",  "general-data", "task",      "config",  "tokenizer", "rank",
      "lr",     "epochs",     "max-steps", "batch-size",   "seq-len",   "targets", "adapter",   "early-stopping",
      "preset", "grad-accum", "out",       "resume",       "overwrite", "dry-run", "dtype",     "reward",
      "trials", "json",       "quiet"};
  return names.count(option) != 0;
}

std::string usage_of(const Verb& verb) {
  std::string usage = "lowrank " + verb.name;
  for (const std::string& name : verb.positionals) usage += " " + name;
  for (const OptionSpec& option : verb.options)
    if (option.required) usage += " " + name_of(option);
  return usage + " [options]";
}

std::string help_text(const Verb& verb, bool all, std::size_t columns) {
  columns = std::min(columns, kWidestText);
  all = all || verb.options.size() <= kMany;
  std::string text = wrapped(verb.summary + ".", columns, 0) + "\n\n" +
                     wrapped("Usage: " + usage_of(verb), columns, 7) + "\n" +
                     wrapped("Example: " + verb.example, columns, 9) + "\n";
  std::vector<std::string> groups;
  std::size_t shown = 0;
  const auto group_of = [](const OptionSpec& option) { return option.group.empty() ? "General" : option.group; };
  const auto is_shown = [&](const OptionSpec& option) { return all || option.required || needed_first(option.name); };
  for (const OptionSpec& option : verb.options) {
    if (!is_shown(option)) continue;
    ++shown;
    if (std::find(groups.begin(), groups.end(), group_of(option)) == groups.end()) groups.push_back(group_of(option));
  }
  for (const std::string& group : groups) {
    text += "\n" + group + "\n";
    for (const OptionSpec& option : verb.options)
      if (is_shown(option) && group_of(option) == group) text += row(name_of(option), text_of(verb, option), columns);
  }
  text += "\nHelp\n";
  const bool own_config = std::any_of(verb.options.begin(), verb.options.end(),
                                      [](const OptionSpec& option) { return option.name == "config"; });
  if (!own_config && !verb.options.empty())
    text += row("--config FILE", "Options from a YAML or JSON file, or the run.json of a run; the command line wins",
                columns);
  text += row("--help, -h", all ? "This" : fmt::format("These {}; --help all: all {}", shown, verb.options.size()),
              columns);
  return text;
}

}  // namespace lowrank::apps
