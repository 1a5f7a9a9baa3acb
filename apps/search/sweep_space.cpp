#include "lowrank/apps/search/sweep_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/apps/console/config_file.h"
#include "lowrank/apps/console/yaml_file.h"
#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::apps {

namespace {

using core::Json;

const std::vector<std::string> kKeys = {"log", "uniform", "choice", "points", "when"};

struct Reader {
  const std::string file;
  const Verb& verb;

  [[noreturn]] void fail(const YAML::Node& node, const std::string& problem) const {
    throw ConfigError(place_of(file, node) + ": " + problem);
  }

  const OptionSpec& option(const YAML::Node& key) const {
    const std::string name = scalar(key), where = place_of(file, key);
    const OptionSpec& found = option_named(verb, name, where);
    if (!found.searched) fail(key, fmt::format("'{}' is the same for all trials; give it as --{}", name, name));
    return found;
  }

  /// The value of an option, checked as the command line's.
  Json value(const OptionSpec& option, const YAML::Node& node) const {
    if (!node.IsScalar() && node.size() == 0)
      fail(node, fmt::format("a choice of {} is a value or a list of values", option.name));
    return value_of(option, file, option.name, node);
  }

  std::string scalar(const YAML::Node& node) const { return scalar_of(file, node); }

  void read_range(train::Dimension& dimension, const OptionSpec& option, const YAML::Node& node) const {
    if (option.type != OptionType::kInt && option.type != OptionType::kNumber)
      fail(node, fmt::format("{} is no number; list its values with choice", option.name));
    if (!node.IsSequence() || node.size() != 2) fail(node, fmt::format("{}: expected [low, high]", option.name));
    dimension.integer = option.type == OptionType::kInt;
    const OptionSpec number{option.name, OptionType::kNumber, "", nullptr, "", "", {}};
    const std::string where = place_of(file, node);
    dimension.low = recipes::parse_value(number, scalar(node[0]), where).get<double>();
    dimension.high = recipes::parse_value(number, scalar(node[1]), where).get<double>();
    const auto whole = [](double x) { return std::floor(x) == x; };
    if (dimension.integer && !(whole(dimension.low) && whole(dimension.high)))
      fail(node, fmt::format("{} takes whole numbers; found [{}, {}]", option.name, dimension.low, dimension.high));
  }

  train::Dimension dimension(const YAML::Node& key, const YAML::Node& node) const {
    const OptionSpec& spec = option(key);
    train::Dimension result;
    result.name = spec.name;
    if (!node.IsMap())
      fail(key,
           fmt::format("'{}' needs a scale: {{log: [low, high]}}, {{uniform: [low, high]}} or {{choice: [a, b, ...]}}",
                       spec.name));
    int scales = 0;
    for (const auto& entry : node) {
      const std::string word = scalar(entry.first);
      if (word == "log" || word == "uniform") {
        result.scale = word == "log" ? train::Dimension::Scale::kLog : train::Dimension::Scale::kUniform;
        read_range(result, spec, entry.second);
        ++scales;
      } else if (word == "choice") {
        if (!entry.second.IsSequence()) fail(entry.first, fmt::format("{}: choice is a list of values", spec.name));
        for (const auto& item : entry.second) result.choices.push_back(value(spec, item));
        ++scales;
      } else if (word == "points") {
        const OptionSpec count{"points", OptionType::kInt, "", nullptr, "", "", {}};
        result.points = recipes::parse_value(count, scalar(entry.second),
                                             place_of(file, entry.first))
                            .get<std::int64_t>();
        if (result.points < 2) fail(entry.second, "points must be 2 or more, for both ends are taken");
      } else if (word == "when") {
        read_condition(result, entry.second);
      } else {
        fail(entry.first, fmt::format("unknown key '{}' of {}{}; known: log, uniform, choice, points, when",
                                      core::printable(word), spec.name, core::did_you_mean(word, kKeys)));
      }
    }
    if (scales != 1) fail(key, fmt::format("'{}' needs one of log, uniform and choice, found {}", spec.name, scales));
    if (result.points != 0 && result.scale == train::Dimension::Scale::kChoice)
      fail(key, fmt::format("'{}': points belong to log or uniform", spec.name));
    return result;
  }

  void read_condition(train::Dimension& dimension, const YAML::Node& node) const {
    if (!node.IsMap() || node.size() != 1) fail(node, "when names one option and its values: {rank: [4, 16]}");
    const auto entry = *node.begin();
    const OptionSpec& parent = option(entry.first);
    std::vector<Json> values;
    if (entry.second.IsSequence()) {
      for (const auto& item : entry.second) values.push_back(value(parent, item));
    } else {
      values.push_back(value(parent, entry.second));
    }
    dimension.when.emplace(parent.name, std::move(values));
  }
};

}  // namespace

train::SearchSpace read_space(const std::filesystem::path& file, const Verb& verb) {
  const Reader reader{file.string(), verb};
  std::vector<train::Dimension> dimensions;
  use_yaml_file(file, "a mapping of option names to scales", [&](const YAML::Node& root) {
    for (const auto& entry : root) dimensions.push_back(reader.dimension(entry.first, entry.second));
  });
  return {std::move(dimensions), file.string()};
}

}  // namespace lowrank::apps
