#include "lowrank/apps/console/words.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>

#include "lowrank/apps/console/help.h"
#include "lowrank/apps/console/style.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/console/verb_table.h"
#include "lowrank/apps/console/wrap.h"
#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/table.h"
#include "lowrank/core/text.h"

namespace lowrank::apps {

namespace {

std::string overview(const std::vector<Verb>& verbs) {
  std::string text = "lowrank " LOWRANK_VERSION
                     ": low-rank fine-tuning of Hugging Face language models\n\nUsage: lowrank VERB ... [options]\n\n";
  const std::size_t columns = stdout_columns();
  std::size_t widest = 0;
  for (const Verb& verb : verbs) widest = std::max(widest, verb.name.size());
  for (const Verb& verb : verbs)
    text += wrapped(fmt::format("  {:<{}}  {}", verb.name, widest, verb.summary), columns, widest + 4) + "\n";
  return text + "\n" +
         wrapped(
             "`lowrank VERB --help` tells more. MODEL is a folder in the Hugging Face layout, ORG/NAME in the Hugging "
             "Face cache, or an adapter folder (its config names the base).",
             columns, 0) +
         "\n";
}

/// The verbs of two words that begin with this one ("align").
std::vector<const Verb*> beneath(const std::string& word, const std::vector<Verb>& verbs) {
  std::vector<const Verb*> found;
  for (const Verb& verb : verbs)
    if (verb.name.starts_with(word + " ")) found.push_back(&verb);
  return found;
}

std::string overview_of(const std::string& word, const std::vector<const Verb*>& beneath) {
  std::string text = fmt::format("Usage: lowrank {} WHAT ... [options]\n", word);
  for (const Verb* verb : beneath) {
    text += "\n" + wrapped(fmt::format("lowrank {}: {}.", verb->name, verb->summary), stdout_columns(), 2) + "\n" +
            wrapped("  Example: " + verb->example, stdout_columns(), 11) + "\n";
  }
  return text + fmt::format("\n`lowrank {} --help` tells more.\n", beneath.front()->name);
}

bool asks_for_help(const std::string& word) { return word == "--help" || word == "-h" || word == "help"; }

/// "-1", "-.5", "-1%": values, though they begin as options do.
bool is_number(const std::string& word) {
  return word.size() > 1 && word.front() == '-' && std::string_view("0123456789.").find(word[1]) != std::string_view::npos;
}

/// What is wrong with the value of a known option; empty: nothing. `next`: the word after it, if there is one.
std::string value_problem(const OptionSpec& option, const std::string& argument, const std::optional<std::string>& next) {
  const std::string name = "--" + option.name;
  const bool joined = argument.size() > name.size();  // --name=value
  if (option.type == OptionType::kFlag) {
    static const std::set<std::string> words = {"true", "false", "1", "0", "yes", "no", "on", "off"};
    if (!joined || words.count(argument.substr(name.size() + 1)) > 0) return "";
    return fmt::format("{} is a switch, which stands alone, or as {}=true or {}=false; found '{}'", name, name, name,
                       core::printable(argument.substr(name.size() + 1)));
  }
  const std::string needs = fmt::format("{} needs a value: {} {} ({})", name, name, option.value, option.help);
  if (joined && argument.size() == name.size() + 1)
    return option.type == OptionType::kText ? fmt::format("{}; an empty one is written {} ''", needs, name) : needs;
  if (joined) return "";
  if (!next) return needs;
  if (next->size() < 2 || next->front() != '-' || is_number(*next)) return "";
  return fmt::format("{}; found {} after it (a value that begins with a dash is written {})", needs, core::printable(*next),
                     core::shell_quoted(name + "=" + *next));
}

/// Of first words that name no verb: help about the verbs that begin so, or what is wrong.
Asked answer_unknown(const std::vector<std::string>& words, const std::vector<Verb>& verbs) {
  if (const auto under = beneath(words[0], verbs); !under.empty()) {
    if (words.size() > 1 && asks_for_help(words[1])) {
      print_out(overview_of(words[0], under));
      return {};
    }
    std::vector<std::string> second, whole;
    for (const Verb* verb : under) {
      second.push_back(verb->name.substr(words[0].size() + 1));
      whole.push_back(verb->name);
    }
    const std::string near = words.size() > 1 ? core::did_you_mean(words[1], second) : "";
    throw ConfigError(fmt::format("'{}' goes with a second word: {}{}", words[0], fmt::join(whole, ", "), near));
  }
  std::vector<std::string> names;
  for (const Verb& verb : verbs) names.push_back(verb.name);
  const std::string near = core::did_you_mean(words[0], names);
  throw ConfigError(fmt::format("'{}' is not a verb of lowrank{}{} `lowrank --help` lists them", core::printable(words[0]), near,
                                near.empty() ? ";" : ""));
}

}  // namespace

std::pair<const Verb*, std::size_t> find_verb(const std::vector<std::string>& words,
                                              const std::vector<Verb>& verbs) {
  for (const Verb& verb : verbs) {
    std::vector<std::string> parts;
    std::string name = verb.name;
    for (std::size_t at; (at = name.find(' ')) != std::string::npos; name.erase(0, at + 1))
      parts.push_back(name.substr(0, at));
    parts.push_back(name);
    if (words.size() >= parts.size() && std::equal(parts.begin(), parts.end(), words.begin()))
      return {&verb, parts.size()};
  }
  return {nullptr, 0};
}

OptionWords look_at(const Verb& verb, const std::vector<std::string>& arguments) {
  OptionWords words;
  std::string problem;  // the first
  std::set<std::string> seen;
  std::vector<std::pair<std::string, std::string>> unknown;  // name, the word after it
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const std::string next = i + 1 < arguments.size() ? arguments[i + 1] : "";
    if (argument == "--") break;
    if (argument.size() < 2 || argument.front() != '-' || is_number(argument)) continue;
    const std::string name = argument.substr(0, argument.find('='));
    if (name == "--help" || name == "-h") {
      words.help = true;
      words.all = words.all || next == "all" || argument == "--help=all";
      continue;
    }
    const OptionSpec* option = name.starts_with("--") ? find_option(verb, name.substr(2)) : nullptr;
    if (option == nullptr && name == "--config") {
      if (argument == name) ++i;
      continue;
    }
    if (option == nullptr) {
      const bool has_value = !next.empty() && next.front() != '-';
      unknown.emplace_back(name, argument != name ? argument.substr(name.size() + 1) : has_value ? next : "");
      if (argument == name && has_value) ++i;
      continue;
    }
    if (problem.empty())
      problem = value_problem(*option, argument, i + 1 < arguments.size() ? std::optional(next) : std::nullopt);
    const bool one_value = option->type != OptionType::kFlag && option->type != OptionType::kTexts;
    if (problem.empty() && !seen.insert(name).second && one_value)
      problem = fmt::format("{} is given more than once; it takes one value", name);
    if (option->type == OptionType::kTexts && option->value.ends_with("...")) words.greedy.push_back(name);
    if (one_value && argument == name) ++i;
  }
  if (words.help) return words;
  if (unknown.empty()) {
    if (!problem.empty()) throw ConfigError(fmt::format("lowrank {}: {}", verb.name, problem));
    return words;
  }
  std::string all;
  for (const auto& [name, value] : unknown) all += (all.empty() ? "" : ", nor ") + name + answer_to(verb, name, value);
  throw ConfigError(
      fmt::format("lowrank {} has no {}; `lowrank {} --help all` lists what it has", verb.name, all, verb.name));
}

Asked ask(std::vector<std::string> words, const std::vector<Verb>& verbs) {
  if (words.size() > 1 && words[0] == "help") {  // "help finetune" is "finetune --help"
    words.erase(words.begin());
    words.emplace_back("--help");
  }
  if (words.empty()) {
    print_out(overview(verbs));
    return {nullptr, 2};
  }
  if (asks_for_help(words[0])) {
    print_out(asks_for_table(words) ? core::json_text(to_json(verbs), 2) + "\n" : overview(verbs));
    return {};
  }
  if (words[0] == "--version") {
    print_out("lowrank " LOWRANK_VERSION "\n");
    return {};
  }
  const auto [verb, taken] = find_verb(words, verbs);
  if (verb == nullptr) return answer_unknown(words, verbs);
  Asked asked = {verb, 0, {words.begin() + static_cast<std::ptrdiff_t>(taken), words.end()}};
  OptionWords given;
  try {
    given = look_at(*verb, asked.arguments);
  } catch (const ConfigError& error) {
    throw ConfigError(as_flags(*verb, error.what()));  // helps of options name others as fields
  }
  if (!given.help) return asked;
  print_out(help_text(*verb, given.all, stdout_columns()));
  return {};
}

}  // namespace lowrank::apps
