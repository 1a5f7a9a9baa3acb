// The file that --config names: options by our names, a run's run.json, or another tool's settings (refused, all of
// them answered at once).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lowrank/apps/console/options.h"
#include "lowrank/apps/console/yaml_file.h"

namespace lowrank::apps {

/// What argv and the files before gave, by option.
struct GivenOptions {
  std::map<std::string, core::Json> values;
  std::map<std::string, std::string> sources;
  std::vector<std::string> positionals;
};

/// What a node of a YAML file says of an option, as argv would: a list of words where the option takes several, or words
/// with commas. `key`: its name in the file. ConfigError with the line.
core::Json value_of(const OptionSpec& option, const std::string& file, const std::string& key, const YAML::Node& node);

/// Adds what the file gives and `given` lacks. A name may have underscores for dashes, `model` stands for the MODEL
/// after the verb, and lists stand where words with commas would. Of a run.json everything is taken but where the run
/// went to and how it ended. ConfigError for what the verb does not know: every such name with ours, or the nearest.
void read_config_file(const Verb& verb, const std::string& file, GivenOptions& given);

}  // namespace lowrank::apps
