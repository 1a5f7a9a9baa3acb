#include "lowrank/apps/console/completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "lowrank/apps/console/help.h"
#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"

namespace lowrank::apps {

namespace {

/// First words, each with the second words that may follow ("align": "dpo", …).
std::map<std::string, std::vector<std::string>> words_of(const std::vector<Verb>& verbs) {
  std::map<std::string, std::vector<std::string>> words;
  for (const Verb& verb : verbs) {
    const std::size_t space = verb.name.find(' ');
    auto& second = words[verb.name.substr(0, space)];
    if (space != std::string::npos) second.push_back(verb.name.substr(space + 1));
  }
  return words;
}

std::vector<std::string> flags_of(const Verb& verb) {
  std::vector<std::string> flags;
  for (const OptionSpec& option : verb.options) flags.push_back("--" + option.name);
  flags.insert(flags.end(), {"--config", "--help"});
  std::sort(flags.begin(), flags.end());
  flags.erase(std::unique(flags.begin(), flags.end()), flags.end());
  return flags;
}

/// In single quotes of a shell.
std::string in_quotes(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

std::string bash(const std::vector<Verb>& verbs) {
  const auto words = words_of(verbs);
  std::string first, second, options, choices;
  for (const auto& [word, more] : words) {
    first += (first.empty() ? "" : " ") + word;
    if (!more.empty()) second += fmt::format("    {}) words='{}' ;;\n", word, fmt::join(more, " "));
  }
  for (const Verb& verb : verbs) {
    options += fmt::format("    '{}') words='{}' ;;\n", verb.name, fmt::join(flags_of(verb), " "));
    for (const OptionSpec& option : verb.options) {
      if (!option.choices.empty())
        choices +=
            fmt::format("    '{} --{}') words='{}' ;;\n", verb.name, option.name, fmt::join(option.choices, " "));
    }
  }
  return "# Completion of lowrank for bash: source it, or install it as share/bash-completion/completions/lowrank.\n"
         "_lowrank() {\n"
         "  local now=\"${COMP_WORDS[COMP_CWORD]}\" before=\"${COMP_WORDS[COMP_CWORD-1]}\" verb=\"${COMP_WORDS[1]}\" "
         "words=''\n"
         "  COMPREPLY=()\n"
         "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
         "    COMPREPLY=($(compgen -W '" +
         first +
         " --help --version' -- \"$now\"))\n"
         "    return\n"
         "  fi\n"
         "  case \"$verb\" in\n" +
         second +
         "  esac\n"
         "  if [ -n \"$words\" ]; then\n"
         "    if [ \"$COMP_CWORD\" -eq 2 ]; then\n"
         "      COMPREPLY=($(compgen -W \"$words --help\" -- \"$now\"))\n"
         "      return\n"
         "    fi\n"
         "    verb=\"$verb ${COMP_WORDS[2]}\"\n"
         "  fi\n"
         "  words=''\n"
         "  case \"$verb $before\" in\n" +
         choices +
         "  esac\n"
         "  if [ -n \"$words\" ]; then\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$now\"))\n"
         "    return\n"
         "  fi\n"
         "  if [[ \"$now\" == -* ]]; then\n"
         "    case \"$verb\" in\n" +
         options +
         "    esac\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$now\"))\n"
         "    return\n"
         "  fi\n"
         "  COMPREPLY=($(compgen -f -- \"$now\"))\n"
         "}\n"
         "complete -o filenames -F _lowrank lowrank\n";
}

std::string fish(const std::vector<Verb>& verbs) {
  std::string text = "# Completion of lowrank for fish: share/fish/vendor_completions.d/lowrank.fish\n";
  for (const auto& [word, more] : words_of(verbs)) {
    std::string summary;
    for (const Verb& verb : verbs)
      if (verb.name == word) summary = verb.summary;
    text += fmt::format("complete -c lowrank -f -n __fish_use_subcommand -a {} -d {}\n", word, in_quotes(summary));
    for (const std::string& second : more) {
      text += fmt::format(
          "complete -c lowrank -f -n '__fish_seen_subcommand_from {}; and not __fish_seen_subcommand_from "
          "{}' -a {}\n",
          word, fmt::join(more, " "), second);
    }
  }
  for (const Verb& verb : verbs) {
    std::string when = "__fish_seen_subcommand_from " + verb.name;
    if (const std::size_t space = verb.name.find(' '); space != std::string::npos) {
      when = "__fish_seen_subcommand_from " + verb.name.substr(0, space) + "; and __fish_seen_subcommand_from " +
             verb.name.substr(space + 1);
    }
    for (const OptionSpec& option : verb.options) {
      text += fmt::format("complete -c lowrank -n '{}' -l {}{}{} -d {}\n", when, option.name,
                          option.type == OptionType::kFlag ? "" : " -r",
                          option.choices.empty() ? "" : fmt::format(" -f -a '{}'", fmt::join(option.choices, " ")),
                          in_quotes(as_flags(verb, option.help)));
    }
  }
  return text;
}

/// Text inside a specification of zsh's _arguments.
std::string zsh_text(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

std::string zsh(const std::vector<Verb>& verbs) {
  std::string first, second, bodies;
  for (const auto& [word, more] : words_of(verbs)) {
    first += " " + word;
    if (!more.empty())
      second += fmt::format("    {}) _values 'which' {}; [[ CURRENT -eq 3 ]] && return; verb=\"{} $words[3]\" ;;\n",
                            word, fmt::join(more, " "), word);
  }
  for (const Verb& verb : verbs) {
    bodies += fmt::format("    {})\n      _arguments -s", in_quotes(verb.name));
    for (const OptionSpec& option : verb.options) {
      std::string one = "--" + option.name + "[" + zsh_text(as_flags(verb, option.help)) + "]";
      if (option.type != OptionType::kFlag) {
        one += ":" + zsh_text(option.value) + ":" +
               (option.choices.empty() ? std::string("_files") : fmt::format("({})", fmt::join(option.choices, " ")));
      }
      bodies += " \\\n        " + in_quotes(one);
    }
    bodies += " \\\n        '*:file:_files' ;;\n";
  }
  return "#compdef lowrank\n# Completion of lowrank for zsh: share/zsh/site-functions/_lowrank\n"
         "_lowrank() {\n"
         "  local verb=\"$words[2]\"\n"
         "  if [[ CURRENT -eq 2 ]]; then\n    compadd --" +
         first +
         " --help --version\n    return\n  fi\n"
         "  case \"$verb\" in\n" +
         second +
         "  esac\n"
         "  case \"$verb\" in\n" +
         bodies +
         "  esac\n}\n"
         "_lowrank \"$@\"\n";
}

/// Text of a manual page: no line begins with a control character, hyphens of options can be copied.
std::string roff(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '\\') {
      result += "\\e";
    } else if (c == '-') {
      result += "\\-";
    } else {
      result += c;
    }
  }
  return result.starts_with('.') || result.starts_with('\'') ? "\\&" + result : result;
}

}  // namespace

std::string completion_script(const std::string& shell, const std::vector<Verb>& verbs) {
  if (shell == "bash") return bash(verbs);
  if (shell == "zsh") return zsh(verbs);
  if (shell == "fish") return fish(verbs);
  throw ConfigError(fmt::format("lowrank completion: there is one for bash, zsh and fish, found '{}'{}",
                                core::printable(shell), core::did_you_mean(shell, {"bash", "zsh", "fish"})));
}

std::string manual_page(const std::vector<Verb>& verbs, const std::string& version) {
  std::string text = fmt::format(
      ".TH LOWRANK 1 \"\" \"lowrank {}\" \"User Commands\"\n.SH NAME\nlowrank \\- low\\-rank fine\\-tuning of Hugging "
      "Face "
      "language models\n.SH SYNOPSIS\n.B lowrank\n.I VERB\n[\\fIoptions\\fR]\n.SH DESCRIPTION\nMODEL is a folder in "
      "the "
      "Hugging Face layout, ORG/NAME in the Hugging Face cache, or an adapter folder (its config names the base). "
      "Every "
      "option may stand in a YAML or JSON file that \\fB\\-\\-config\\fR names.\n",
      version);
  for (const Verb& verb : verbs) {
    text += fmt::format(".SH {}\n{}.\n.PP\n.B {}\n.PP\nExample:\n.RS\n{}\n.RE\n", roff("LOWRANK " + verb.name),
                        roff(verb.summary), roff(usage_of(verb)), roff(verb.example));
    std::string group;
    for (const OptionSpec& option : verb.options) {
      if (option.group != group && !option.group.empty()) text += ".SS " + roff(option.group) + "\n";
      group = option.group;
      text += fmt::format(".TP\n\\fB\\-\\-{}\\fR{}\n{}", roff(option.name),
                          option.type == OptionType::kFlag ? "" : " \\fI" + roff(option.value) + "\\fR",
                          roff((option.required ? "Required. " : "") + as_flags(verb, option.help)));
      if (!option.choices.empty()) text += roff(fmt::format(" ({})", fmt::join(option.choices, ", ")));
      if (!option.fallback.is_null() && option.type != OptionType::kFlag)
        text += roff(" [" +
                     (option.fallback.is_string() ? option.fallback.get<std::string>() : core::json_text(option.fallback)) + "]");
      text += "\n";
    }
  }
  return text +
         ".SH EXIT STATUS\n0: done. 2: a mistake on the command line or in a file of options. 65: bad data or model. "
         "66: "
         "something that was named is not there. 70: internal error. 74: input or output failed. 128 + N: stopped by "
         "signal N.\n";
}

}  // namespace lowrank::apps
