#include "lowrank/lora/match.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/lora/pattern.h"
#include "lowrank/lora/peft_names.h"

namespace lowrank::lora {
namespace {

bool ends_with_segment(const std::string& name, const std::string& entry) {
  return name.size() > entry.size() && name[name.size() - entry.size() - 1] == '.' &&
         name.compare(name.size() - entry.size(), entry.size(), entry) == 0;
}

// re.match(r"(^|.*\.)entry($|\..*)", name), for plain names: PEFT keeps its adapters off these.
bool inside(const std::string& name, const std::string& entry) {
  for (std::size_t at = name.find(entry); at != std::string::npos; at = name.find(entry, at + 1)) {
    const std::size_t end = at + entry.size();
    if ((at == 0 || name[at - 1] == '.') && (end == name.size() || name[end] == '.')) return true;
  }
  return false;
}

// Names given as a list (equal, or the end of the path) or as one regular expression; remembers which entries were
// used.
class NameSet {
 public:
  NameSet(const std::variant<std::vector<std::string>, std::string>& names, const char* what) {
    if (const auto* expression = std::get_if<std::string>(&names)) {
      if (expression->empty()) return;
      pattern_.emplace(Pattern::Kind::kFullMatch, *expression, what);
      entries_ = {*expression};
    } else {
      entries_ = std::get<std::vector<std::string>>(names);
    }
    used_.resize(entries_.size());
  }

  /// 0: no; 1: by the end of the path or the expression; 2: an entry is the whole path.
  int matches(const std::string& name) {
    if (pattern_) {
      if (!pattern_->matches(name)) return 0;
      used_[0] = true;
      return 1;
    }
    int result = 0;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const bool whole = name == entries_[i];
      if (!whole && !ends_with_segment(name, entries_[i])) continue;
      used_[i] = true;
      result = std::max(result, whole ? 2 : 1);
    }
    return result;
  }

  std::vector<std::string> unused() const {
    std::vector<std::string> result;
    for (std::size_t i = 0; i < entries_.size(); ++i)
      if (!used_[i]) result.push_back(entries_[i]);
    return result;
  }

 private:
  std::optional<Pattern> pattern_;
  std::vector<std::string> entries_;
  std::vector<bool> used_;
};

std::function<std::optional<std::int64_t>(const std::string&)> layer_reader(const LoraConfig& config) {
  std::vector<Pattern> patterns;
  for (const std::string& p : config.layers_pattern) patterns.emplace_back(Pattern::Kind::kLayer, p, "layers_pattern");
  return [patterns](const std::string& name) -> std::optional<std::int64_t> {
    if (patterns.empty()) return Pattern::first_layer_of(name);
    for (const Pattern& pattern : patterns)
      if (const auto layer = pattern.layer_of(name)) return layer;
    return std::nullopt;
  };
}

// The shortest ends of the paths in `wanted` that are no ends (nor the whole) of a path in `unwanted`.
std::vector<std::string> shortest_names(const std::vector<std::string>& wanted, const std::set<std::string>& unwanted) {
  std::set<std::string> taken;  // every end of every unwanted path
  for (const std::string& name : unwanted)
    for (std::size_t begin = 0;; begin = name.find('.', begin) + 1) {
      taken.insert(name.substr(begin));
      if (name.find('.', begin) == std::string::npos) break;
    }
  std::set<std::string> result;
  for (const std::string& name : wanted) {
    std::string end = name.substr(name.rfind('.') + 1);
    while (end.size() < name.size() && taken.count(end) > 0) {
      const std::size_t dot = name.rfind('.', name.size() - end.size() - 2);
      end = dot == std::string::npos ? name : name.substr(dot + 1);
    }
    result.insert(end);
  }
  return {result.begin(), result.end()};
}

}  // namespace

Match match(const LoraConfig& config, const std::vector<std::string>& modules, const std::string& head) {
  const bool all = config.all_linear();
  const std::variant<std::vector<std::string>, std::string> none = std::vector<std::string>{};
  NameSet targets(all ? none : config.target_modules, "target_modules");
  NameSet targets_saved = targets;
  NameSet excluded(config.exclude_modules, "exclude_modules");
  const auto layer_of = layer_reader(config);
  std::set<std::int64_t> wanted, found;
  if (config.layers_to_transform) wanted.insert(config.layers_to_transform->begin(), config.layers_to_transform->end());

  Match result;
  for (const std::string& name : modules) {
    const bool out = excluded.matches(name) != 0;
    const bool saved = std::any_of(config.modules_to_save.begin(), config.modules_to_save.end(),
                                   [&](const std::string& entry) { return inside(name, entry); });
    if (saved) {
      targets_saved.matches(name);
      continue;
    }
    const int hit = all ? (name == head ? 0 : 1) : targets.matches(name);
    if (out || hit == 0) continue;
    const auto layer = layer_of(name);
    if (layer) result.last_layer = std::max(result.last_layer, *layer);
    if (!wanted.empty() && hit == 1) {  // PEFT: an entry that is the whole path is taken whatever its layer
      if (!layer || wanted.count(*layer) == 0) continue;
      found.insert(*layer);
    }
    result.modules.push_back(name);
  }
  const std::vector<std::string> unsaved = targets_saved.unused();
  for (const std::string& entry : targets.unused()) {
    const bool named = std::find(unsaved.begin(), unsaved.end(), entry) == unsaved.end();
    (named ? result.saved_targets : result.unused_targets).push_back(entry);
  }
  result.unused_excludes = excluded.unused();
  std::set_difference(wanted.begin(), wanted.end(), found.begin(), found.end(),
                      std::back_inserter(result.absent_layers));
  return result;
}

std::vector<std::string> match_modules(const LoraConfig& config, const std::vector<std::string>& linears,
                                       const std::string& head) {
  config.validate();
  Match result = match(config, linears, head);
  const auto* list = std::get_if<std::vector<std::string>>(&config.target_modules);
  if (list != nullptr && list->empty()) return {};  // target_parameters alone
  const auto known = last_segments(linears);
  const auto names = [&] { return fmt::format("{}", fmt::join(known, ", ")); };
  for (const std::string& entry : result.unused_targets) {
    if (entry == "all-linear")
      throw ConfigError(
          "target_modules has 'all-linear' among other entries; it stands alone, for every linear layer "
          "but the head");
    if (std::holds_alternative<std::string>(config.target_modules))
      throw ConfigError(
          fmt::format("target_modules: the regular expression '{}' matches no linear module as a whole "
                      "path (like '{}')",
                      core::printable(entry), linears.empty() ? "" : linears.front()));
    throw ConfigError(fmt::format("target_modules: no linear module is named '{}' or ends in '.{}'{}; the model has {}",
                                  core::printable(entry), core::printable(entry), core::did_you_mean(entry, known),
                                  names()));
  }
  for (const std::string& entry : result.saved_targets)
    throw ConfigError(
        fmt::format("target_modules and modules_to_save both name '{}': what is trained whole is no target "
                    "(PEFT passes over the target); leave it out of one of them",
                    core::printable(entry)));
  for (const std::string& entry : result.unused_excludes)
    throw ConfigError(fmt::format("exclude_modules: '{}' excludes no linear module{}; the model has {}",
                                  core::printable(entry), core::did_you_mean(entry, known), names()));
  if (!result.absent_layers.empty())
    throw ConfigError(fmt::format("layers_to_transform has {}, but {}", result.absent_layers.front(),
                                  result.last_layer < 0
                                      ? std::string("the targets have no numbered layers")
                                      : fmt::format("the targets are in layers 0 to {}", result.last_layer)));
  if (result.modules.empty())
    throw ConfigError(
        "no module is left to adapt: exclude_modules and modules_to_save take every module that target_modules names");
  return std::move(result.modules);
}

LoraConfig with_portable_targets(LoraConfig config, const std::vector<std::string>& matched,
                                 const std::vector<std::string>& linears, const std::vector<std::string>& others,
                                 const std::string& head) {
  std::set<std::string> not_linear(others.begin(), others.end());
  for (const std::string& name : linears)  // every module that holds a linear one
    for (std::size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1))
      not_linear.insert(name.substr(0, dot));
  for (const std::string& name : linears) not_linear.erase(name);
  std::vector<std::string> everything = linears;
  everything.insert(everything.end(), not_linear.begin(), not_linear.end());
  const auto holds = [&](const LoraConfig& c) { return match(c, everything, head).modules == matched; };

  if (!config.all_linear() && holds(config)) return config;
  LoraConfig short_names = config;  // names for the whole base selection; exclusions and layers stay as they are
  LoraConfig base = config;
  base.exclude_modules = std::vector<std::string>{};
  base.layers_to_transform.reset();
  base.layers_pattern.clear();
  const std::vector<std::string> selected = match(base, linears, head).modules;
  std::set<std::string> unwanted = not_linear;
  unwanted.insert(linears.begin(), linears.end());
  for (const std::string& name : selected) unwanted.erase(name);
  short_names.target_modules = shortest_names(selected, unwanted);
  if (holds(short_names)) return short_names;

  config.target_modules = matched;  // whole paths say it all
  config.exclude_modules = std::vector<std::string>{};
  config.layers_to_transform.reset();
  config.layers_pattern.clear();
  return config;
}

}  // namespace lowrank::lora
