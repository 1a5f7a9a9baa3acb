// The options of a verb: a recipe's field table (recipes/spec/fields.h), or one of its own. The table drives the
// command line, --config files, help and the nearest-name suggestions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/recipes/spec/fields.h"

namespace lowrank::apps {

using OptionType = recipes::FieldType;
using OptionSpec = recipes::FieldInfo;

/// A verb of the command: `lowrank NAME POSITIONALS [options]`.
struct Verb {
  std::string name;  // "finetune", "tokenizer train"
  std::string summary;
  std::vector<std::string> positionals;  // names; one in [brackets] may be left out
  std::vector<OptionSpec> options;
  std::string example;  // one command, for help
  int (*run)(const class Options&) = nullptr;
};

/// The resolved options of one call: argv over the file of --config over defaults.
class Options {
 public:
  Options(const Verb& verb, std::map<std::string, core::Json> values, std::map<std::string, std::string> sources,
          std::vector<std::string> positionals, std::string command_line);

  const Verb& verb() const { return *verb_; }
  const std::string& positional(std::size_t i) const { return positionals_.at(i); }
  std::size_t positional_count() const { return positionals_.size(); }
  const std::string& command_line() const { return command_line_; }

  bool has(const std::string& name) const;    // a value is there (given, or a default)
  bool given(const std::string& name) const;  // by argv or the file
  /// Null where there is none.
  core::Json value(const std::string& name) const;
  /// What gave it: "command line", a file; empty where nothing did.
  std::string source(const std::string& name) const;
  bool flag(const std::string& name) const;
  std::int64_t integer(const std::string& name) const;
  double number(const std::string& name) const;
  std::string text(const std::string& name) const;
  std::vector<std::string> texts(const std::string& name) const;
  std::vector<std::filesystem::path> paths(const std::string& name) const;

  /// ConfigError "--name: problem".
  [[noreturn]] void fail(const std::string& name, const std::string& problem) const;
  /// integer()/number() with bounds, error by fail().
  std::int64_t integer_in(const std::string& name, std::int64_t low, std::int64_t high) const;
  double number_in(const std::string& name, double low, double high) const;

  /// Every option with its value, for run.json.
  core::Json resolved() const;

  /// What `verb` would be given: of these values those that are in its table, its own defaults, and over them
  /// `changes`, which count as given by `source`. `skip`: leading positionals that are not its own.
  Options for_verb(const Verb& verb, const std::map<std::string, core::Json>& changes, const std::string& source,
                   std::size_t skip = 0) const;

 private:
  const Verb* verb_;
  std::map<std::string, core::Json> values_;
  std::map<std::string, std::string> sources_;
  std::vector<std::string> positionals_;
  std::string command_line_;
};

/// Parses argv (without the verb's words). ConfigError for every mistake, with our name for options that users of PEFT,
/// TRL, mlx-lm or LLaMA-Factory would type, else the nearest.
Options parse_options(const Verb& verb, const std::vector<std::string>& arguments);

/// The option of this name in a verb's table, or null.
const OptionSpec* find_option(const Verb& verb, const std::string& name);
/// The option of this name in a verb's table; ConfigError with our name for it, or the nearest.
const OptionSpec& option_named(const Verb& verb, const std::string& name, const std::string& where);

/// What is said of a name that is not in a verb's table, to be put behind it: our name for it (`value`: what it was
/// given, where that is known), or the nearest; empty where there is neither.
std::string answer_to(const Verb& verb, const std::string& name, const std::string& value = {});

/// What other tools call the thing: our option for `foreign` ("learning-rate" -> "--lr"), or nothing.
std::optional<std::string> translate_option(const std::string& foreign);
/// The whole table, for the tests: foreign name -> answer.
const std::vector<std::pair<std::string, std::string>>& translations();

/// A text of the library, in which fields stand between backticks, with those of the verb as flags.
std::string as_flags(const Verb& verb, const std::string& text);

// Options that several verbs share.
OptionSpec option_json();
OptionSpec option_quiet();
OptionSpec option_plain();
OptionSpec option_follow_links();
OptionSpec option_threads();
OptionSpec option_dtype();
OptionSpec option_base_dtype();
OptionSpec option_device();
OptionSpec option_adapter();
OptionSpec option_format();
OptionSpec option_columns();
OptionSpec option_layout();
OptionSpec option_seq_len(const std::string& help);

}  // namespace lowrank::apps
